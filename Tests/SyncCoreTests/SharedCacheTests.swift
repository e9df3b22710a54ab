import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// L2 in Redis: entries are judged by incarnation, `asOf`, firstKnownPosition and slots at the moment of the answer.
@Suite struct SharedCacheTests {
    let server = HarnessServer()

    private func load(_ host: EngineHarness, tags: [ByteBuffer] = [.text("t")]) throws {
        guard case .fetched(.lease(let lease)) = host.request(.fetch(key: .text("k"), waitMilliseconds: nil)) else {
            throw TestFailure("no lease")
        }
        let fill = Fill(key: .text("k"), lease: lease.id, ttlMilliseconds: 60_000, tags: tags, value: .text("v"))
        #expect(host.request(.fill(fill)) == .ok)
    }

    private func isHit(_ host: EngineHarness) -> Bool {
        if case .fetched(.hit) = host.request(.fetch(key: .text("k"), waitMilliseconds: nil)) { true } else { false }
    }

    @Test func `what is settled wakes nobody up`() throws {
        var limits = Limits()
        limits.appendNanoseconds = 100_000_000
        let host = EngineHarness(.redis, server: server, limits: limits)
        host.connect()
        host.settle()
        host.client(1)
        // The next probe comes after everything that is waited for in between.
        while host.deadline.map({ $0 < host.now + limits.lookupNanoseconds }) ?? true { host.advance(milliseconds: 1) }
        let probe = host.deadline
        try load(host)
        #expect(isHit(host))
        #expect(host.request(.invalidate(tags: [.text("t")], event: nil)) == .integer(1))
        host.request(.publish(Event(channel: .text("c"), payload: .text("p"))))
        #expect(host.deadline == probe)
        host.disconnectCommands()
        host.request(.invalidate(tags: [.text("t")], event: nil))
        #expect(host.deadline == host.now + limits.appendNanoseconds, "but what is open does")
    }

    @Test func `a value of one host is a hit on another`() throws {
        let one = EngineHarness.attached(server)
        let two = EngineHarness.attached(server, seed: 2)
        one.client(1)
        two.client(1)
        try load(one)
        #expect(isHit(two))
        server.appendElsewhere("t")
        two.deliver()
        #expect(!isHit(two))
    }

    /// Redis is asked for nothing that a process of this host has loaded or asked for.
    @Test func `a value that Redis had is kept on the host`() throws {
        let one = EngineHarness.attached(server)
        let two = EngineHarness.attached(server, seed: 2)
        one.client(1)
        two.client(1)
        try load(one)
        #expect(isHit(two))
        server.data.values = [:]
        #expect(isHit(one) && isHit(two), "Redis has it no more")
        two.disconnect()
        #expect(isHit(two), "nor can it be asked")
        two.connect()
        two.settle()
        server.appendElsewhere("t")
        two.deliver()
        #expect(!isHit(two), "the rule is the same")
    }

    /// The next syncd of the host, with the table and the arena of the one before.
    private func restarted(_ host: EngineHarness) -> EngineHarness {
        let next = EngineHarness.attached(server, table: host.table, arena: host.arena, seed: host.seed + 1)
        next.client(1)
        return next
    }

    /// A host with a value in its arena only, and ten entries in the log.
    private func hostWithValue() throws -> EngineHarness {
        let host = EngineHarness.attached(server)
        host.client(1)
        for number in 1...10 { server.appendElsewhere("\(number)") }
        host.deliver()
        try load(host)
        server.data.values = [:]
        return host
    }

    @Test func `the values of a host outlive its syncd as far as the log shows what happened meanwhile`() throws {
        var host = restarted(try hostWithValue())
        #expect(isHit(host), "nothing happened")
        server.appendElsewhere("other")
        host = restarted(host)
        #expect(isHit(host), "something else was invalidated")
        server.appendElsewhere("t")
        #expect(!isHit(restarted(host)))
    }

    /// The host is behind, or Redis has lost the log that the value is of.
    @Test func `a value that is newer than the last applied entry is not used`() throws {
        let host = EngineHarness.attached(server)
        let other = EngineHarness.attached(server, seed: 2)
        host.client(1)
        other.client(1)
        host.isListening = false
        server.appendElsewhere("x")
        other.deliver()
        try load(other)
        #expect(host.applied < other.applied)
        guard case .fetched(.lease(let lease)) = host.request(.fetch(key: .text("k"), waitMilliseconds: nil)) else {
            throw TestFailure("Redis has it, and it is used")
        }
        host.request(.abandon(key: .text("k"), lease: lease.id))
        host.isListening = true
        host.advance(milliseconds: 1000)
        #expect(host.applied == other.applied)
        #expect(isHit(host))
    }

    @Test(arguments: [1, 3]) func `values that are newer than a lost entry are gone`(lost: Int) throws {
        let host = try hostWithValue()
        server.goBack(by: lost)
        // Other entries take the lost positions. The value is not newer than they are, although its position is.
        for number in 0..<5 { server.appendElsewhere(number < lost ? "t" : "other", nonce: 100) }
        let replacements = server.replacements
        #expect(!isHit(restarted(host)))
        #expect(server.replacements == replacements + 1, "other hosts may have such values, too")
    }

    @Test func `values are gone if the last applied entry is no longer in the log`() throws {
        let host = try hostWithValue()
        for _ in 0..<5 { server.appendElsewhere("other") }
        server.entries.removeAll { $0.position <= 10 }
        #expect(!isHit(restarted(host)))
    }

    @Test func `a value that the arena has no room for comes from Redis`() throws {
        let host = EngineHarness.attached(
            server, arena: .inMemory(shape: ValueArenaLayout.Shape(indexWords: 512, ringBytes: 4096)))
        host.client(1)
        guard case .fetched(.lease(let lease)) = host.request(.fetch(key: .text("k"), waitMilliseconds: nil)) else {
            throw TestFailure("no lease")
        }
        let long = ByteBuffer(repeating: 1, count: 2000)
        let fill = Fill(key: .text("k"), lease: lease.id, ttlMilliseconds: 60_000, tags: [], value: long)
        #expect(host.request(.fill(fill)) == .ok)
        for _ in 0..<2 {
            guard case .fetched(.hit(let hit)) = host.request(.fetch(key: .text("k"), waitMilliseconds: nil)) else {
                throw TestFailure("no hit")
            }
            #expect(hit.value == long)
        }
    }

    @Test func `a value in Redis is renewed, and meanwhile read`() throws {
        let host = EngineHarness.attached(server)
        host.client(1)
        host.client(2)
        try load(host)
        server.data.values = server.data.values.mapValues { .init(entry: $0.entry, expiresAt: 10_000) }
        guard case .fetched(.lease(let lease)) = host.request(.renew(key: .text("k"), ttlMilliseconds: 10_000)) else {
            throw TestFailure("no lease")
        }
        #expect(host.request(.renew(key: .text("k"), ttlMilliseconds: 10_000), from: 2) == .fetched(.miss))
        #expect(isHit(host), "the old value is there until the new one is")
        let fill = Fill(
            key: .text("k"), lease: lease.id, ttlMilliseconds: 60_000, tags: [.text("t")], value: .text("w"))
        #expect(host.request(.fill(fill)) == .ok)
        guard case .fetched(.hit(let hit)) = host.request(.renew(key: .text("k"), ttlMilliseconds: 10_000), from: 2)
        else {
            throw TestFailure("it lives longer than that of the asker")
        }
        #expect(hit.value == .text("w"))
    }

    @Test func `who does not find a value that is being renewed waits for it`() throws {
        let host = EngineHarness.attached(server, arena: nil)
        host.client(1)
        host.client(2)
        try load(host)
        guard case .fetched(.lease(let lease)) = host.request(.renew(key: .text("k"), ttlMilliseconds: 60_000)) else {
            throw TestFailure("no lease")
        }
        server.data.values = [:]
        guard case .wait(let ticket) = host.request(.fetch(key: .text("k"), waitMilliseconds: 5000), from: 2) else {
            throw TestFailure("no ticket")
        }
        _ = host.take()
        let fill = Fill(
            key: .text("k"), lease: lease.id, ttlMilliseconds: 60_000, tags: [.text("t")], value: .text("w"))
        #expect(host.request(.fill(fill)) == .ok)
        guard case .fetched(ticket, .hit) = host.takePushes().first else { throw TestFailure("no hit") }
    }

    @Test func `two who ask to renew at once share the question and not the lease`() throws {
        let host = EngineHarness.attached(server)
        host.client(1)
        host.client(2)
        try load(host)
        host.isLinked = false
        let requests = [ClientID(1), 2].map { client in
            _ = host.request(.renew(key: .text("k"), ttlMilliseconds: 60_000), from: client)
            return host.lastRequest
        }
        host.advance(milliseconds: 200)
        let answers = requests.map { host.answer(to: $0) }
        guard case .fetched(.lease) = answers[0] else { throw TestFailure("no lease") }
        #expect(answers[1] == .fetched(.miss))
    }

    @Test func `a value from before the firstKnownPosition is a miss`() throws {
        let host = EngineHarness.attached(server, arena: nil)
        host.client(1)
        try load(host)
        host.disconnect()
        server.appendElsewhere("x", isPublished: false)
        server.appendElsewhere("y", isPublished: false)
        server.entries.removeFirst()
        host.connect()
        host.settle()
        #expect(host.firstKnownPosition == 1)
        #expect(!isHit(host))
    }

    @Test func `a value of another log is a miss`() throws {
        let host = EngineHarness.attached(server, arena: nil)
        host.client(1)
        try load(host)
        let kept = server.data.values
        host.disconnect()
        server.restart()
        host.connect()
        host.settle()
        server.data.values = kept
        #expect(!isHit(host))
    }

    @Test func `a foreign or damaged value is a miss`() throws {
        let host = EngineHarness.attached(server, arena: nil)
        host.client(1)
        try load(host)
        let entry = try #require(server.data.values[.text("k")]?.entry)
        for length in 0..<min(entry.readableBytes, 28) {
            let cut = try #require(entry.getSlice(at: entry.readerIndex, length: length))
            #expect(StoredEntry(encoded: cut, limits: WireLimits()) == nil)
        }
        server.data.values[.text("k")]?.entry = .text("something else")
        #expect(!isHit(host))
    }

    @Test func `the verdict is made at the answer not at the question`() throws {
        let host = EngineHarness.attached(server, arena: nil)
        host.client(1)
        try load(host)
        // The question is on its way; an invalidation is applied before the answer comes.
        host.isLinked = false
        #expect(host.request(.fetch(key: .text("k"), waitMilliseconds: nil)) == nil)
        let request = host.lastRequest
        let question = host.take().compactMap { effect -> UpstreamCommand? in
            if case .upstream(let command) = effect { command } else { nil }
        }
        host.isLinked = true
        let answer = try #require(question.first.flatMap { server.execute($0) })
        server.appendElsewhere("t")
        host.deliver()
        host.event(answer)
        guard case .fetched(.lease) = host.answer(to: request) else {
            Issue.record("an entry that died on its way is not a hit")
            return
        }
    }

    @Test func `who has slept answers from cache only when nothing is missing`() throws {
        let host = EngineHarness.attached(server)
        host.client(1)
        try load(host)
        // Stopped for 700 ms; publications of that time are still in the socket when the heartbeat comes.
        server.appendElsewhere("t")
        host.now += 700_000_000
        host.heartbeat()
        #expect(host.state == .attached)
        #expect(host.request(.fetch(key: .text("k"), waitMilliseconds: nil)) == .fetched(.miss))
        host.deliver()
        host.advance(milliseconds: 300)
        try load(host)
        #expect(isHit(host))
    }

    @Test func `a silent Redis sends the asker to the database with a lease`() {
        let host = EngineHarness.attached(server)
        host.client(1)
        host.isLinked = false
        #expect(host.request(.fetch(key: .text("k"), waitMilliseconds: nil)) == nil)
        let request = host.lastRequest
        host.advance(milliseconds: 200)
        guard case .fetched(.lease) = host.answer(to: request) else {
            Issue.record("a lease after 200 ms")
            return
        }
    }

    @Test func `large values are not kept in Redis`() throws {
        let host = EngineHarness.attached(server)
        host.client(1)
        guard case .fetched(.lease(let lease)) = host.request(.fetch(key: .text("k"), waitMilliseconds: nil)) else {
            throw TestFailure("no lease")
        }
        let value = ByteBuffer(repeating: 7, count: (1 << 20) + 1)
        let fill = Fill(key: .text("k"), lease: lease.id, ttlMilliseconds: 60_000, tags: [], value: value)
        #expect(host.request(.fill(fill)) == .ok)
        #expect(server.data.values.isEmpty)
    }

    @Test func `EXPLAIN says that Redis cannot be asked, not that there is no value`() {
        let host = EngineHarness.attached(server)
        host.client(1)
        host.disconnect()
        guard case .fields(let fields) = host.request(.explain(key: .text("k"))) else {
            Issue.record("no fields")
            return
        }
        #expect(fields.contains(StatusField("where", .text("unknown"))))
        #expect(fields.contains(StatusField("why", .text("Redis is not connected, so that L2 cannot be asked"))))
    }

    @Test func `isolation ends every load`() throws {
        let host = EngineHarness.attached(server)
        host.client(1)
        host.client(2)
        guard case .fetched(.lease(let lease)) = host.request(.fetch(key: .text("k"), waitMilliseconds: nil)) else {
            throw TestFailure("no lease")
        }
        guard case .wait(let ticket) = host.request(.fetch(key: .text("k"), waitMilliseconds: 9000), from: 2) else {
            throw TestFailure("no ticket")
        }
        _ = host.take()
        host.disconnect()
        host.advance(milliseconds: 2300)
        #expect(host.takePushes().contains(.fetched(ticket: ticket, .miss)))
        #expect(host.request(.fetch(key: .text("k"), waitMilliseconds: nil)) == .fetched(.miss))
        let fill = Fill(key: .text("k"), lease: lease.id, ttlMilliseconds: 1000, tags: [], value: nil)
        guard case .error(let error) = host.request(.fill(fill)) else { throw TestFailure("accepted") }
        #expect(error.code == .isolated)
    }
}
