import Foundation
import NIOCore
import Synchronization
import TestSupport
import Testing

@testable import ClientCheck

/// Workers in four languages on one host, on the same keys, with a real syncd and a real database.
@Suite(.tags(.manyProcesses), .processes) struct CrossLanguageTests {
    /// Registers that all workers read and write, and what is known about them.
    private final class History: Sendable {
        private struct State {
            /// Per key: acknowledged values, with the time from which on nobody may be answered with less.
            var acknowledged: [String: [(time: ContinuousClock.Instant, value: Int)]] = [:]
            var reads = 0
            var writes = 0
            var sources: [String: Int] = [:]
        }

        private let state = Mutex(State())

        func floor(_ key: String, at time: ContinuousClock.Instant) -> Int {
            state.withLock { $0.acknowledged[key]?.last { $0.time <= time }?.value ?? 0 }
        }

        func wrote(_ key: String, _ value: Int) {
            let now = ContinuousClock.now
            state.withLock { state in
                state.writes += 1
                let greatest = state.acknowledged[key]?.last?.value ?? 0
                if value > greatest { state.acknowledged[key, default: []].append((now, value)) }
            }
        }

        func read(_ source: String) {
            state.withLock { state in
                state.reads += 1
                state.sources[source, default: 0] += 1
            }
        }

        var counts: (reads: Int, writes: Int, sources: [String: Int]) {
            state.withLock { ($0.reads, $0.writes, $0.sources) }
        }
    }

    private struct Participant: Sendable {
        var name: String
        var client: any CheckedClient
        /// How long after a write its own cache may still answer with what was before.
        var window: Duration
    }

    /// A CI run is short; `OPERATIONS=100000` makes it long.
    private static let operations = ProcessInfo.processInfo.environment["OPERATIONS"].flatMap { Int($0) } ?? 20_000

    private func participants(_ syncd: SyncdProcess, _ database: String, _ directory: TemporaryDirectory) async throws
        -> [Participant]
    {
        var all = [
            Participant(
                name: "Swift", client: try await SwiftClient(socketPath: syncd.socketPath, databasePath: database),
                window: .zero)
        ]
        let environment = ["SYNCD_SOCKET": syncd.socketPath, "DATABASE_SOCKET": database]
        for example in ExampleClient.allCases {
            let client = try await example.launch(
                environment, errorPath: directory.file("\(all.count).errors"))
            // With pushes alone, a client learns of a write as soon as a frame gets to it, and at the latest when
            // heartbeats stop.
            all.append(
                Participant(
                    name: example.rawValue, client: client, window: example == .nodePushes ? .seconds(1) : .zero))
        }
        return all
    }

    @Test(arguments: [false, true])
    func `nobody reads less than what was acknowledged, whoever wrote it`(isEmbedded: Bool) async throws {
        let directory = try TemporaryDirectory()
        let database = try await RedisServer()
        let log = isEmbedded ? nil : try await RedisServer()
        let syncd = try await SyncdProcess(redis: log)
        let workers = try await participants(syncd, database.socketPath, directory)
        let history = History()
        let keys = (0..<8).map { "register\($0)" }
        let each = Self.operations / workers.count / 8
        await withTaskGroup(of: Void.self) { group in
            for worker in workers {
                for _ in 0..<8 {
                    group.addTask {
                        for _ in 0..<each {
                            let key = keys.randomElement() ?? keys[0]
                            await Self.step(worker, key, isWrite: Int.random(in: 0..<20) == 0, history)
                        }
                    }
                }
            }
        }
        let (reads, writes, sources) = history.counts
        #expect(reads + writes == each * 8 * workers.count, "nothing failed")
        #expect(sources["L1", default: 0] > reads / 10, "caches are in use: \(sources)")
        #expect(sources["L2", default: 0] > 0, "\(sources)")
        print("cross-language: \(reads) reads, \(writes) writes, \(sources)")
        for worker in workers { await worker.client.end() }
    }

    private static func step(_ worker: Participant, _ key: String, isWrite: Bool, _ history: History) async {
        let floor = history.floor(key, at: .now - worker.window)
        do {
            switch try await worker.client.ask(isWrite ? .write : .load, key) {
            case .value(let text, let source):
                let value = Int(text) ?? 0
                if isWrite {
                    history.wrote(key, value)
                } else {
                    history.read(source)
                    #expect(value >= floor, "\(worker.name) read \(value) from \(source); \(floor) was acknowledged")
                }
            case .error(let why): Issue.record("\(worker.name): \(why)")
            }
        } catch {
            Issue.record("\(worker.name): \(error)\n\(worker.client.complaints)")
        }
    }

    @Test func `a program in C that invalidates`() async throws {
        let directory = try TemporaryDirectory()
        let program = directory.file("invalidate")
        let compiler = try await ChildProcess.run(
            try Executables.find("cc"),
            ["-Wall", "-Wextra", "-Werror", "-o", program, "\(ExampleClient.folder)/c/invalidate.c", "-lhiredis"],
            within: .seconds(60))
        #expect(compiler.exit == .status(0), "\(compiler.errors)")
        let database = try await RedisServer()
        let syncd = try await SyncdProcess()
        let swift = try await SwiftClient(socketPath: syncd.socketPath, databasePath: database.socketPath)
        let store = try await RegisterStore.connect(database.socketPath)
        func value() async throws -> ClientAnswer { try await swift.ask(.load, "key") }
        // Answered when the table is old enough for syncd to answer at once.
        #expect(try await swift.ask(.write, "key") == .value("1", source: "-"))
        await eventually("it is in the cache") {
            if case .value("1", "L1")? = try? await value() { true } else { false }
        }
        // Past every cache.
        _ = try await store.write("key")
        #expect(try await value() == .value("1", source: "L1"))
        let environment = ["SYNCD_SOCKET": syncd.socketPath]
        let told = try await ChildProcess.run(program, ["register:key"], environment: environment)
        #expect(told.exit == .status(0) && Int(told.output.trimmingCharacters(in: .whitespacesAndNewlines)) != nil)
        guard case .value("2", _) = try await value() else {
            Issue.record("the value from before the invalidation")
            return
        }

        syncd.kill()
        _ = try await store.write("key")
        let left = try await ChildProcess.run(program, ["register:key"], environment: environment)
        #expect(left.exit == .status(0) && left.output == "OWED\n", "\(left.errors)")
        guard case .value("3", _) = try await value() else {
            Issue.record("the value from before the invalidation")
            return
        }
        try await syncd.restart()
        await eventually("syncd has taken it from the journal") {
            !syncd.directory.names(in: "journal").contains { $0.hasSuffix(".pending") }
        }
        let nothing = try await ChildProcess.run(program, [], environment: environment)
        #expect(nothing.exit == .status(64) && nothing.errors.contains("usage"))
        await swift.end()
        store.close()
    }
}
