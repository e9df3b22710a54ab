import Foundation
import TestSupport

/// redis-benchmark: one thread, the same for Redis and for syncd.
struct RedisBenchmark {
    var clients = 8
    var pipeline = 1
    var requests = 100_000
    var keys = 1000

    /// Requests per second, and the median time of one in ns.
    func run(socket: String, _ command: [String]) async throws -> [Double] {
        let arguments =
            ["-s", socket, "-c", "\(clients)", "-P", "\(pipeline)", "-n", "\(requests)", "-r", "\(keys)", "--csv"]
            + command
        let done = try await ChildProcess.run(
            try Executables.find("redis-benchmark"), arguments, within: .seconds(120))
        // The last line: name, requests per second, then average, least, p50, p95, p99 and greatest time in ms.
        let line = done.output.split(separator: "\n").last ?? ""
        let cells = line.split(separator: "\",\"").map { $0.filter { $0 != "\"" } }
        guard done.exit == .status(0), cells.count >= 8, let rate = Double(cells[cells.count - 7]),
            let p50 = Double(cells[cells.count - 4])
        else { throw TestFailure("redis-benchmark: \(done.output)\(done.errors)") }
        return [rate, p50 * 1_000_000]
    }
}

/// wrk: eight keep-alive connections from one thread, which has the last processor to itself.
struct Wrk {
    var seconds = 2

    /// Requests per second.
    func run(_ url: String) async throws -> [Double] {
        let done = try await ChildProcess.run(
            try Executables.find("taskset"),
            ["-c", "\(Processors.last)", try Executables.find("wrk"), "-t", "1", "-c", "8", "-d", "\(seconds)s", url],
            within: .seconds(60))
        let line = done.output.split(separator: "\n").first { $0.hasPrefix("Requests/sec:") }
        guard let text = line?.split(separator: " ").last, let rate = Double(text),
            !done.output.contains("Non-2xx")
        else { throw TestFailure("wrk: \(done.output)\(done.errors)") }
        return [rate]
    }
}

/// The processors of the measured processes.
enum Processors {
    static let last = max(1, ProcessInfo.processInfo.activeProcessorCount) - 1

    /// The first processor alone, for all threads of a process, as a worker is installed.
    static func pinToFirst(_ pid: Int32) async throws { try await pin(pid, "0") }

    /// Measures servers on the first processor from the last. If both shared one by chance, their times would differ
    /// fourfold, since a sleeping processor takes long to wake up.
    static func across<Result>(_ servers: [Int32], _ body: () async throws -> Result) async throws -> Result {
        for pid in servers { try await pinToFirst(pid) }
        try await pin(getpid(), "\(last)")
        let result: Result
        do {
            result = try await body()
        } catch {
            try await pin(getpid(), "0-\(last)")
            throw error
        }
        try await pin(getpid(), "0-\(last)")
        return result
    }

    private static func pin(_ pid: Int32, _ processors: String) async throws {
        let done = try await ChildProcess.run(
            try Executables.find("taskset"), ["-a", "-c", "-p", processors, "\(pid)"], within: .seconds(10))
        guard done.exit == .status(0) else { throw TestFailure("taskset: \(done.errors)") }
    }
}

/// Properties of a process, seen from outside.
enum ProcessFigures {
    /// Resident private memory, in bytes.
    static func residentBytes(_ pid: Int32) throws -> Double {
        let text = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
        let line = text.split(separator: "\n").first { $0.hasPrefix("RssAnon:") }
        guard let number = line?.split(separator: " ").dropLast().last.flatMap({ Double($0) }) else {
            throw TestFailure("/proc/\(pid)/status has no RssAnon")
        }
        return number * 1024
    }

    /// Proportional memory of a process (PSS), in bytes: a page that several mappings share counts for each in part.
    ///
    /// - Parameter file: only mappings of files of this name.
    static func proportionalBytes(_ pid: Int32, of file: String? = nil) throws -> Double {
        // In parts: the file has no length.
        let handle = FileHandle(forReadingAtPath: "/proc/\(pid)/smaps")
        let text = String(decoding: try handle?.readToEnd() ?? Data(), as: UTF8.self)
        var (kibibytes, isWanted) = (0.0, false)
        for line in text.split(separator: "\n") {
            if line.hasPrefix("Pss:") {
                let words = line.split(separator: " ")
                if isWanted, words.count > 1 { kibibytes += Double(words[1]) ?? 0 }
            } else if line.first.map({ !$0.isUppercase }) == true {
                isWanted = file.map { line.hasSuffix("/\($0)") } ?? true
            }
        }
        return kibibytes * 1024
    }

    /// Processor time of a process and of the kernel for it, in ns.
    static func processorTime(_ pid: Int32) throws -> Double {
        var clock = clockid_t()
        guard clock_getcpuclockid(pid, &clock) == 0 else { throw TestFailure("no clock of process \(pid)") }
        return nanoseconds(clock)
    }

    /// Processor time of the calling thread.
    static func threadTime() -> Double { nanoseconds(CLOCK_THREAD_CPUTIME_ID) }

    private static func nanoseconds(_ clock: clockid_t) -> Double {
        var time = timespec()
        clock_gettime(clock, &time)
        return Double(time.tv_sec) * 1e9 + Double(time.tv_nsec)
    }
}
