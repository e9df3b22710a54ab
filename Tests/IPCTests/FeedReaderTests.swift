import IPCTesting
import IPCWire
import Logging
import NIOCore
import NIOPosix
import Synchronization
import TestSupport
import Testing

@testable import IPC

/// The reader of a change feed beside a scripted syncd: what it asks, saves and repeats.
@Suite struct FeedReaderTests {
    /// A database that says what the test wants.
    private final class Source: ChangeSource {
        struct State {
            var batches: [ChangeBatch] = []
            var opened: [String?] = []
            var failures: [ChangeSourceFailure] = []
            var closed = 0
            var reads = 0
            /// A reading without changes ends with a failure.
            var endsReading = false
        }
        let state = Mutex(State())

        func open(after token: ByteBuffer?) async throws(ChangeSourceFailure) -> (ChangeCursor, token: ByteBuffer) {
            let failure = state.withLock { state -> ChangeSourceFailure? in
                state.opened.append(token.map { String(buffer: $0) })
                return state.failures.isEmpty ? nil : state.failures.removeFirst()
            }
            if let failure { throw failure }
            let cursor = ChangeCursor(
                next: { () async throws(ChangeSourceFailure) in
                    self.state.withLock { $0.reads += 1 }
                    while true {
                        let batch = self.state.withLock { $0.batches.isEmpty ? nil : $0.batches.removeFirst() }
                        if let batch { return batch }
                        if self.state.withLock({ $0.endsReading }) { throw .interrupted("socket timeout") }
                        do {
                            try await Task.sleep(for: .milliseconds(2))
                        } catch {
                            throw .interrupted("cancelled")
                        }
                    }
                },
                close: { self.state.withLock { $0.closed += 1 } })
            return (cursor, token: ByteBuffer(string: "start"))
        }

        func add(_ keys: String..., token: String, isEnd: Bool = false) {
            let changes = keys.map {
                DocumentChange(collection: "users", key: $0, time: OperationTime(seconds: 5, increment: 1))
            }
            state.withLock {
                $0.batches.append(ChangeBatch(changes: changes, token: ByteBuffer(string: token), isEnd: isEnd))
            }
        }
    }

    /// The answers of the script to requests of the feed, the last one for ever.
    private final class Answers: Sendable {
        private let answers: Mutex<[Reply]>
        init(_ answers: [Reply]) { self.answers = Mutex(answers) }
        func next() -> Reply { answers.withLock { $0.count > 1 ? $0.removeFirst() : $0[0] } }
    }

    private func following(
        _ source: Source, claims: [Reply], saves: [Reply] = [.ok], clock: ManualClock? = nil,
        _ body: (ScriptedSyncd) async throws -> Void
    ) async throws {
        let syncd = try ScriptedSyncd(clock: clock)
        let (claims, saves) = (Answers(claims), Answers(saves))
        syncd.script { request in
            switch request {
            case .feed(.claim): .reply(claims.next())
            case .feed(.save), .feed(.reset): .reply(saves.next())
            case .feed(.leave): .reply(.ok)
            default: nil
            }
        }
        try await syncd.start()
        let cache = SyncedCache(
            configuration: SyncedCacheConfiguration(socketPath: syncd.socketPath),
            eventLoop: MultiThreadedEventLoopGroup.singleton.next(), logger: Logger(label: "test"),
            platform: .system(clock: clock?.workerClock ?? .boot))
        let task = Task {
            await cache.follow(source, named: "f") { change in
                change.key == "none" ? [] : ["users", CacheTag("user:\(change.key ?? "")")]
            }
        }
        do {
            try await body(syncd)
        } catch {
            task.cancel()
            throw error
        }
        task.cancel()
        await task.value
        await syncd.stop()
    }

    private func feedRequests(_ syncd: ScriptedSyncd) -> [String] {
        syncd.requests.compactMap { request -> String? in
            guard case .feed(let request) = request else { return nil }
            switch request {
            case .claim: return "claim"
            case .leave: return "leave"
            case .reset(_, let token): return "reset \(String(buffer: token))"
            case .save(let save):
                let tags = save.changes.map { $0.tags.map { String(buffer: $0) }.joined(separator: "+") }
                return "save \(String(buffer: save.token)) [\(tags.joined(separator: " "))]"
            }
        }
    }

    private func expect(_ requests: [String], of syncd: ScriptedSyncd) async {
        await eventually("it sends \(requests)", details: { "\(feedRequests(syncd))" }) {
            feedRequests(syncd).starts(with: requests)
        }
    }

    private func tail(_ token: String?) -> Reply { FeedRole.tail(token: token.map { ByteBuffer(string: $0) }).reply }

    @Test func `it continues behind the token`() async throws {
        let source = Source()
        source.add("a", "b", token: "t1")
        source.add(token: "t2")
        try await following(source, claims: [tail("t0")]) { syncd in
            await expect(["claim", "save t1 [users+user:a users+user:b]", "save t2 []"], of: syncd)
            #expect(source.state.withLock { $0.opened } == ["t0"])
        }
        #expect(source.state.withLock { $0.closed } == 1)
    }

    @Test func `without a token everything is invalidated, once the source is open`() async throws {
        let source = Source()
        source.add("a", token: "t1")
        try await following(source, claims: [tail(nil)]) { syncd in
            await expect(["claim", "reset start", "save t1 [users+user:a]"], of: syncd)
            #expect(source.state.withLock { $0.opened } == [nil])
        }
    }

    @Test func `lost history is the same as none`() async throws {
        let source = Source()
        source.state.withLock { $0.failures = [.historyLost("too old")] }
        try await following(source, claims: [tail("t0")]) { syncd in
            await expect(["claim", "reset start"], of: syncd)
            #expect(source.state.withLock { $0.opened } == ["t0", nil])
        }
    }

    @Test func `lost history is not forgotten with the role`() async throws {
        let source = Source()
        source.state.withLock { $0.failures = [.historyLost("a standalone server meanwhile")] }
        let lost = Reply.error(ReplyError(.noRole, "lost"))
        try await following(source, claims: [tail("t0")], saves: [lost, .ok]) { syncd in
            await expect(["claim", "reset start", "claim", "reset start"], of: syncd)
            #expect(source.state.withLock { $0.opened } == ["t0", nil, nil])
        }
    }

    @Test func `after a drop the rest is saved, and then all is invalidated`() async throws {
        let source = Source()
        source.add("a", token: "t1", isEnd: true)
        try await following(source, claims: [tail("t0")]) { syncd in
            await expect(["claim", "save t1 [users+user:a]", "reset start"], of: syncd)
            #expect(source.state.withLock { $0.opened } == ["t0", nil])
        }
    }

    @Test func `a save that the log does not take is repeated`() async throws {
        let source = Source()
        source.add("a", token: "t1")
        let isolated = Reply.error(ReplyError(.isolated, "later"))
        try await following(source, claims: [tail("t0")], saves: [isolated, isolated, .ok]) { syncd in
            let save = "save t1 [users+user:a]"
            await expect(["claim", save, save, save], of: syncd)
        }
    }

    /// Waits until the reader, and nothing else, sleeps for this time.
    private func sleeps(_ clock: ManualClock, milliseconds: Int) async {
        await eventually("it sleeps for \(milliseconds) ms") {
            clock.sleeperDeadlines == [clock.now + UInt64(milliseconds) * 1_000_000]
        }
    }

    @Test func `a lost role is asked for a moment later, and then once a second`() async throws {
        let source = Source()
        source.add("a", token: "t1")
        let lost = Reply.error(ReplyError(.noRole, "lost"))
        let clock = ManualClock()
        try await following(
            source, claims: [tail("t0"), FeedRole.wait.reply, tail("t1")], saves: [lost, .ok], clock: clock
        ) { syncd in
            var requests = ["claim", "save t1 [users+user:a]"]
            for pause in [100, 1000] {
                await expect(requests, of: syncd)
                await sleeps(clock, milliseconds: pause)
                clock.advance(by: .milliseconds(pause - 1))
                for _ in 0..<100 { await Task.yield() }
                #expect(feedRequests(syncd) == requests)
                clock.advance(by: .milliseconds(1))
                requests.append("claim")
            }
            await expect(requests, of: syncd)
            await eventually("it is opened again") { source.state.withLock { $0.opened } == ["t0", "t1"] }
        }
        #expect(source.state.withLock { $0.closed } == 2)
    }

    @Test func `an interrupted source gives the role back, and asks again`() async throws {
        let source = Source()
        source.state.withLock { $0.failures = [.interrupted("no primary")] }
        try await following(source, claims: [tail("t0")]) { syncd in
            await expect(["claim", "leave", "claim"], of: syncd)
        }
    }

    @Test func `a database without changes is asked again ten seconds later`() async throws {
        let source = Source()
        source.state.withLock { $0.failures = [.unavailable("the privilege changeStream is missing")] }
        let clock = ManualClock()
        try await following(source, claims: [tail("t0")], clock: clock) { syncd in
            await expect(["claim", "leave"], of: syncd)
            await sleeps(clock, milliseconds: 10_000)
            clock.advance(by: .milliseconds(9999))
            for _ in 0..<100 { await Task.yield() }
            #expect(feedRequests(syncd) == ["claim", "leave"])
            source.add("a", token: "t1")
            clock.advance(by: .milliseconds(1))
            let expected = ["claim", "leave", "claim", "reset start", "save t1 [users+user:a]"]
            await expect(expected, of: syncd)
        }
        #expect(source.state.withLock { $0.opened } == ["t0", nil], "nobody knows what was written meanwhile")
    }

    @Test func `the role is renewed while a reading takes long`() async throws {
        let source = Source()
        let clock = ManualClock()
        try await following(source, claims: [tail("t0")], clock: clock) { syncd in
            for count in 1...3 {
                await expect(Array(repeating: "claim", count: count), of: syncd)
                await eventually("it reads") { source.state.withLock { $0.opened } == ["t0"] }
                await sleeps(clock, milliseconds: 1500)
                clock.advance(by: .milliseconds(1500))
            }
        }
    }

    @Test func `a first reading that fails after seconds is not tried again`() async throws {
        let source = Source()
        let clock = ManualClock()
        try await following(source, claims: [tail("t0")], clock: clock) { syncd in
            await eventually("it reads") { source.state.withLock { $0.reads } > 0 }
            clock.advance(by: .milliseconds(4000))
            source.state.withLock { $0.endsReading = true }
            await sleeps(clock, milliseconds: 1000)
            source.state.withLock { $0.endsReading = false }
            clock.advance(by: .milliseconds(1000))
            await eventually("it goes on at the present") { feedRequests(syncd).last == "reset start" }
            #expect(!feedRequests(syncd).contains("leave"))
        }
    }

    @Test func `a long batch is saved in parts, and its token with the last`() async throws {
        let source = Source()
        let keys = (0..<1100).map { "\($0)" }
        source.state.withLock {
            $0.batches.append(
                ChangeBatch(
                    changes: keys.map {
                        DocumentChange(collection: "users", key: $0, time: OperationTime(seconds: 5, increment: 1))
                    }, token: ByteBuffer(string: "t9")))
        }
        try await following(source, claims: [tail("t0")]) { syncd in
            await eventually("all are saved") { feedRequests(syncd).count >= 10 }
            let tokens = feedRequests(syncd).dropFirst().map { String($0.prefix(8)) }
            #expect(tokens == Array(repeating: "save t0 ", count: 8) + ["save t9 "])
        }
    }

    @Test func `a key that is too long for a tag changes everything`() async throws {
        let source = Source()
        source.add(String(repeating: "x", count: 300), token: "t1")
        try await following(source, claims: [tail("t0")]) { syncd in await expect(["claim", "save t1 [*]"], of: syncd) }
    }

    @Test func `a save that syncd refuses is not repeated for ever`() async throws {
        let source = Source()
        source.add("a", token: "t1")
        let refusal = Reply.error(ReplyError(.tooBig, "token"))
        try await following(source, claims: [tail("t0")], saves: [refusal, .ok]) { syncd in
            await expect(["claim", "save t1 [users+user:a]", "reset start"], of: syncd)
        }
    }

    @Test func `a syncd that refuses everything is not asked without a pause`() async throws {
        let source = Source()
        let refusal = Reply.error(ReplyError(.tooBig, "token"))
        try await following(source, claims: [tail(nil)], saves: [refusal]) { syncd in
            await expect(["claim", "reset start", "reset start"], of: syncd)
            #expect(feedRequests(syncd).count < 10)
        }
    }

    @Test func `a change without tags is passed over`() async throws {
        let source = Source()
        source.add("none", token: "t1")
        try await following(source, claims: [tail("t0")]) { syncd in await expect(["claim", "save t1 []"], of: syncd) }
    }
}
