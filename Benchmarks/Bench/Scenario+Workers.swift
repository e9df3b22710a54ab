import Foundation
import IPC
import NIOCore
import TestSupport

extension Scenario {
    /// From the invalidation of a key that all workers read until each has its new value, which one of them loads.
    static func hotKey(_ rounds: Int) async throws -> [Measured] {
        let one = try await HotKey(workers: 1)
        let many = try await HotKey(workers: 64)
        var rows: [Measured] = []
        for (name, how, atOnce) in [
            ("hot-key", "read one after the other", false), ("hot-key-at-once", "read at the same moment", true),
        ] {
            let result = try await Rounds(rounds) {
                try await many.measure(300, atOnce: atOnce)
            } yardstick: {
                try await one.measure(300, atOnce: atOnce)
            }
            rows += [
                result.row(
                    name, "INVALIDATE of one key → 64 workers, which \(how), have the new value, p50", "with 1 worker",
                    .nanoseconds, .ratioAtMost(1.33)),
                result.row(
                    name + "-cpu", "the same, syncd's processor time", "with 1 worker", .nanoseconds,
                    .ratioAtMost(1.33), 1),
            ]
        }
        return rows
    }

    static func workingSetKey(_ number: Int) -> String { "set:\(number)" }

    /// Memory of 64 workers that have read 200 MB, beside one copy and what each L1 may hold.
    static func workersMemory(_ rounds: Int) async throws -> [Measured] {
        let (processes, each, l1Bytes, keys, valueBytes) = (8, 8, 4 << 20, 20_000, 10_000)
        let syncd = try await SyncdProcess.forMeasuring(environment: ["SYNCD_CACHE_BYTES": "\(256 << 20)"])
        let directory = try TemporaryDirectory()
        let start = directory.file("start")
        let readers = try (0..<processes).map { _ in
            try ChildProcess(
                try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"),
                [
                    "readers", "--socket", syncd.socketPath, "--count", "\(each)", "--l1-bytes", "\(l1Bytes)",
                    "--keys", "\(keys)", "--start", start,
                ])
        }
        func said(_ word: String) async throws {
            for reader in readers {
                while !reader.output.contains(word) {
                    guard reader.isRunning else { throw TestFailure("a reader ended\n\(reader.transcript)") }
                    try await Task.sleep(for: .milliseconds(50))
                }
            }
        }
        func memory(_ mapping: String? = nil) throws -> Double {
            try (readers.map(\.pid) + [syncd.pid]).reduce(0) {
                try $0 + ProcessFigures.proportionalBytes($1, of: mapping)
            }
        }
        try await said("ready")
        let before = try memory()
        let value = ByteBuffer(repeating: UInt8(ascii: "v"), count: valueBytes)
        try syncd.fill(keys: (0..<keys).map(workingSetKey), tags: ["set"], value: value)
        _ = FileManager.default.createFile(atPath: start, contents: nil)
        try await said("done")
        func row(_ name: String, _ what: String, _ yardstick: String, _ figure: Double, _ limit: Int) -> Measured {
            Measured(
                name: name, what: what, yardstick: yardstick, unit: .bytes, goal: .ratioAtMost(1.1), figure: figure,
                yardstickFigure: Double(limit), ratio: figure / Double(limit))
        }
        let values = keys * valueBytes
        return [
            row(
                "workers-memory-shared", "the arena in 64 workers that have read 200 MB, and in syncd (PSS)",
                "the values, once", try memory("values.arena"), values),
            row(
                "workers-memory", "growth of all of their memory (PSS)", "the values, once, and 64 L1 of 4 MiB",
                try memory() - before, values + processes * each * l1Bytes),
        ]
    }
}

/// A syncd on a Redis, and workers that all read the same key.
private final class HotKey {
    private let redis: RedisServer
    private let syncd: SyncdProcess
    private let wire: Wire
    private let readers: Readers
    private let (key, tag): (CacheKey, CacheTag) = ("hot", "hot")
    private var version = 0

    init(workers: Int) async throws {
        redis = try await RedisServer()
        syncd = try await SyncdProcess.forMeasuring(redis: redis)
        wire = try Wire(path: syncd.socketPath)
        readers = try await Readers(workers, socketPath: syncd.socketPath, l1Bytes: 1 << 20)
    }

    /// The median time until all have the new value, and syncd's processor time for one of them, in ns.
    func measure(_ count: Int, atOnce: Bool) async throws -> [Double] {
        let request = Wire.encoded("INVALIDATE", "TAGS", "hot")
        var (times, spent) = (LatencyRecorder(), 0.0)
        for _ in 0..<count {
            // The key is hot: everybody has read it, more than once.
            for _ in 0..<3 { try await readers.read(key, tag: tag, expecting: value, atOnce: atOnce) }
            version += 1
            let before = try ProcessFigures.processorTime(syncd.pid)
            let start = monotonicNow()
            try wire.send(request)
            try wire.await()
            try await readers.read(key, tag: tag, expecting: value, atOnce: atOnce)
            times.record(monotonicNow() - start)
            spent += try ProcessFigures.processorTime(syncd.pid) - before
        }
        return [times.p50AndP99[0], spent / Double(count)]
    }

    private var value: ByteBuffer { ByteBuffer(string: "version \(version) " + String(repeating: "v", count: 100)) }
}
