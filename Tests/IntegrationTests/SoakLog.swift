import Foundation
import Synchronization
import TestSupport

/// The records of a long run, as tables of comma-separated values: resources of processes, latency of requests, and
/// failures.
final class SoakLog: Sendable {
    private struct Window {
        var reads: [Duration] = []
        var writes: [Duration] = []
    }

    private let begin = ContinuousClock.now
    private let window = Mutex(Window())
    private let processes: FileHandle
    private let requests: FileHandle
    private let faults: FileHandle

    init(folder: String) throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let open: (String, String) throws -> FileHandle = { name, header in
            let url = URL(fileURLWithPath: "\(folder)/\(name).csv")
            try Data((header + "\n").utf8).write(to: url)
            let file = try FileHandle(forWritingTo: url)
            try file.seekToEnd()
            return file
        }
        processes = try open("processes", "seconds,name,pid,rss_kib,descriptors,threads")
        requests = try open(
            "requests",
            "seconds,reads,read_p50_ms,read_p99_ms,writes,write_p50_ms,write_p99_ms,unavailable,failed,stale,load")
        faults = try open("faults", "seconds,fault")
    }

    private var seconds: String { Self.format((ContinuousClock.now - begin) / .seconds(1)) }

    private static func format(_ number: Double) -> String { String(format: "%.2f", number) }

    func answered(_ request: FaultStage.Request, within duration: Duration) {
        window.withLock { window in
            switch request {
            case .read: window.reads.append(duration)
            case .write: window.writes.append(duration)
            }
        }
    }

    func began(_ fault: FaultStage.Fault) { try? faults.write(contentsOf: Data("\(seconds),\(fault.rawValue)\n".utf8)) }

    /// Looks at all processes, and at the requests since the last time.
    func sample(_ stage: FaultStage) throws {
        let seconds = seconds
        var rows = ""
        for host in stage.hosts {
            var members = [("syncd \(host.index + 1)", host.syncd.pid)]
            for (index, worker) in host.workers.enumerated() {
                members.append(("worker \(host.index + 1).\(index + 1)", worker.pid))
            }
            for (name, pid) in members {
                // One that was just killed is not there.
                guard let rss = try? ProcessMemory.resident(pid), let descriptors = Self.count("fd", pid),
                    let threads = Self.count("task", pid)
                else { continue }
                rows += "\(seconds),\(name),\(pid),\(rss / 1024),\(descriptors),\(threads)\n"
            }
        }
        try processes.write(contentsOf: Data(rows.utf8))
        let past = window.withLock { window in
            defer { window = Window() }
            return window
        }
        var load = [0.0]
        getloadavg(&load, 1)
        let history = stage.history
        let row = [
            seconds, Self.summary(past.reads), Self.summary(past.writes), "\(history.unavailableCount)",
            "\(history.failures.count)", "\(history.stale.count)", Self.format(load[0]),
        ]
        try requests.write(contentsOf: Data((row.joined(separator: ",") + "\n").utf8))
    }

    private static func count(_ folder: String, _ pid: pid_t) -> Int? {
        (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/\(folder)"))?.count
    }

    /// How many, the median and the 99th percentile in milliseconds; empty without any.
    private static func summary(_ durations: [Duration]) -> String {
        guard !durations.isEmpty else { return "0,," }
        let sorted = durations.sorted()
        let at: (Double) -> String = { share in
            format(sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))] / .milliseconds(1))
        }
        return "\(sorted.count),\(at(0.5)),\(at(0.99))"
    }
}
