import Foundation
import TestSupport

extension Scenario {
    /// From the start of the process until the host is attached.
    static func start(_ rounds: Int) async throws -> [Measured] {
        let empty = try await RedisServer()
        let full = try await RedisServer()
        let writer = try await SyncdProcess.forMeasuring(redis: full)
        _ = try await RedisBenchmark(pipeline: 16, requests: 100_000, keys: 10_000).run(
            socket: writer.socketPath, ["INVALIDATE", "TAGS", "user:__rand_int__"])
        let result = try await Rounds(rounds) {
            [try await timeToStart(empty)]
        } yardstick: {
            [try await timeToStart(full)]
        }
        func row(_ name: String, _ what: String, _ figure: Double, _ goal: Double) -> Measured {
            Measured(
                name: name, what: what, yardstick: "", unit: .nanoseconds, goal: .atMost(goal), figure: figure)
        }
        return [
            row("start-empty", "start of syncd until attached, empty log", result.figure(0), 50e6),
            row("start-100k", "the same, 100 000 entries in the log", result.yardstick(0), 300e6),
        ]
    }

    static func timeToStart(_ redis: RedisServer) async throws -> Double {
        let directory = try TemporaryDirectory(in: "/dev/shm")
        let socket = directory.file("syncd.sock")
        let program = try Executables.built("syncd")
        let start = monotonicNow()
        let process = try ChildProcess(
            program, ["run"],
            environment: [
                "SYNCD_SOCKET": socket, "REDIS_ENABLED": "true", "REDIS_URL": "unix://\(redis.socketPath)",
                "LOG_LEVEL": "notice",
            ])
        defer { process.kill() }
        while true {
            if let wire = try? Wire(path: socket), let greeting = try? wire.command("HELLO", "3"),
                greeting["state"]?.string == "attached"
            {
                return Double(monotonicNow() - start)
            }
            guard monotonicNow() - start < 10_000_000_000, process.isRunning else {
                throw TestFailure("syncd does not attach\n\(process.transcript)")
            }
            usleep(200)
        }
    }

    /// Memory of a thousand workers that are connected and silent.
    static func memory(_ rounds: Int) async throws -> [Measured] {
        // All connections are this process's: one gets half of them.
        let syncd = try await SyncdProcess.forMeasuring(environment: ["SYNCD_LIMIT_CLIENTS": "4096"])
        let workers = Workers(of: syncd)
        try workers.grow(to: 24)
        let before = try ProcessFigures.residentBytes(syncd.pid)
        try workers.grow(to: 1024)
        let after = try ProcessFigures.residentBytes(syncd.pid)
        return [
            Measured(
                name: "memory-idle", what: "memory of syncd per idle connection (of 1000)", yardstick: "", unit: .bytes,
                goal: .atMost(16 * 1024), figure: (after - before) / 1000)
        ]
    }
}
