import EngineTesting
import IPCTesting
import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// Change feeds: what other programs write is invalidated, own writes are not invalidated twice, and no token is ahead of
/// the log.
@Suite struct ChangeFeedTests {
    private static let name = ByteBuffer.text("test.users")
    private let server = HarnessServer()

    private func claim(_ host: EngineHarness, from client: ClientID = 1) -> Reply? {
        host.request(.feed(.claim(name: Self.name)), from: client)
    }

    private func save(
        _ host: EngineHarness, _ changes: [FeedChange], token: String, from client: ClientID = 1
    ) -> Reply? {
        host.request(
            .feed(.save(FeedSave(name: Self.name, token: .text(token), lagMilliseconds: 3, changes: changes))),
            from: client)
    }

    /// A time of the database, which is after the start of each host.
    private func time(_ seconds: UInt32, _ increment: UInt32) -> OperationTime {
        OperationTime(seconds: 1_700_001_000 + seconds, increment: increment)
    }

    private func change(_ user: String, _ seconds: UInt32, _ increment: UInt32 = 1) -> FeedChange {
        FeedChange(
            collection: .text("users"), time: time(seconds, increment),
            tags: [.text("users"), .text("user:\(user)")])
    }

    private func write(_ host: EngineHarness, _ user: String, _ seconds: UInt32, _ increment: UInt32 = 1) {
        let reply = host.request(
            .invalidate(tags: [.text("users"), .text("user:\(user)")], event: nil, at: time(seconds, increment)),
            from: 2)
        if case .integer = reply {} else { Issue.record("not appended: \(String(describing: reply))") }
        host.deliver()
    }

    private func tail(_ token: String?) -> Reply { FeedRole.tail(token: token.map { .text($0) }).reply }
    private let wait = FeedRole.wait.reply

    private func isNoRole(_ reply: Reply?) -> Bool {
        if case .error(let error) = reply { error.code == .noRole } else { false }
    }

    private func isIsolated(_ reply: Reply?) -> Bool {
        if case .error(let error) = reply { error.code == .isolated } else { false }
    }

    private func embedded() -> EngineHarness {
        let host = EngineHarness(.embedded)
        host.settle()
        for client in ClientID.all(1...3) { host.client(client) }
        _ = host.take()
        return host
    }

    private func attached(_ seed: UInt64 = 1) -> EngineHarness {
        let host = EngineHarness.attached(server, seed: seed)
        for client in ClientID.all(1...3) { host.client(client) }
        return host
    }

    private func token() -> String? { server.data.feedToken(Self.name).map { String(buffer: $0) } }
    private func uncovered(_ host: EngineHarness) -> UInt64 {
        host.loop.engine.feeds[Self.name]?.uncovered.values.reduce(0, +) ?? 0
    }

    // MARK: Figures

    /// The feed in STATUS.
    private func lag(_ host: EngineHarness) -> StatusValue? {
        guard case .list(let feeds) = host.loop.engine.statusSection("feeds", now: host.now, transport: { _ in nil }),
            case .fields(let fields)? = feeds.first
        else { return nil }
        return fields.first { $0.name == "lag-ms" }?.value
    }

    @Test func `the lag is the time since which changes may be unknown`() {
        let host = attached()
        _ = claim(host)
        #expect(save(host, [], token: "t1") == .ok)
        #expect(lag(host) == .number(3), "as the reader says")
        host.advance(milliseconds: 400)
        #expect(lag(host) == .number(403))
        #expect(save(host, [], token: "t2") == .ok)
        #expect(lag(host) == .number(3))
        host.close(1)
        host.advance(milliseconds: 60_000)
        #expect(lag(host) == .number(60_003), "nobody reads")
    }

    @Test func `where another host reads, nothing is unknown`() {
        let (host, other) = (attached(), attached(2))
        _ = claim(host)
        #expect(claim(other) == wait)
        other.advance(milliseconds: 3000)
        #expect(lag(other) == .number(3000), "whoever has the role may be unable to read")
        other.advance(milliseconds: 3000)
        #expect(lag(other) == .null)
    }

    @Test func `the lag grows where all hosts try in turns, and none can read`() {
        let hosts = [attached(1), attached(2)]
        for _ in 0..<20 {
            for host in hosts {
                _ = claim(host)
                for host in hosts { host.advance(milliseconds: 1500) }
                server.now += 1500
                _ = host.request(.feed(.leave(name: Self.name)), from: 1)
                server.now += 10
            }
        }
        #expect(
            hosts.map { lag($0) } == [.number(60_000), .number(58_500)], "since the first that each was asked for it")
    }

    // MARK: Coverage

    @Test(arguments: [LogMode.embedded, .redis]) func `a time of the future covers nothing`(mode: LogMode) {
        let host = mode == .embedded ? embedded() : attached()
        host.advance(milliseconds: 500)
        _ = claim(host)
        let now = UInt32(host.wallClock / 1000) - 1_700_001_000
        write(host, "a", now + 299)
        #expect(save(host, [change("a", now + 200)], token: "t1") == .ok)
        write(host, "b", now + 400)
        #expect(save(host, [change("b", now + 200)], token: "t2") == nil, "it may be of another program")
    }

    @Test(arguments: [LogMode.embedded, .redis]) func `a change without an invalidation is invalidated`(mode: LogMode) {
        let host = mode == .embedded ? embedded() : attached()
        _ = claim(host)
        #expect(save(host, [change("a", 5)], token: "t5") == nil, "its own invalidation may be on its way")
        #expect(host.slot("user:a") == 0)
        host.advance(milliseconds: 21, heartbeats: false)
        #expect(host.answer(to: host.lastRequest) == .ok)
        #expect(host.slot("user:a") == 1)
        #expect(host.slot("users") == 1)
        #expect(uncovered(host) == 0, "its own invalidation may be late")
        host.advance(milliseconds: 2001)
        #expect(uncovered(host) == 1)
    }

    @Test(arguments: [LogMode.embedded, .redis]) func `an own write is not invalidated again`(mode: LogMode) {
        let host = mode == .embedded ? embedded() : attached()
        _ = claim(host)
        write(host, "a", 5)
        #expect(save(host, [change("a", 5)], token: "t5") == .ok)
        host.advance(milliseconds: 100)
        #expect(host.applied == 1)
        #expect(uncovered(host) == 0)
    }

    @Test func `the invalidation of a write may come after its change`() {
        let host = attached()
        _ = claim(host)
        #expect(save(host, [change("a", 5)], token: "t5") == nil)
        let asked = host.lastRequest
        host.advance(milliseconds: 15, heartbeats: false)
        write(host, "a", 5)
        #expect(host.answer(to: asked) == .ok)
        host.advance(milliseconds: 100)
        #expect(host.applied == 1)
        #expect(uncovered(host) == 0)
    }

    @Test func `another host's write is covered, too`() {
        let (reader, writer) = (attached(1), attached(2))
        _ = claim(reader)
        write(writer, "a", 5)
        reader.event(.published(server.incarnation ?? .none, server.entries[0]))
        #expect(save(reader, [change("a", 5)], token: "t5") == .ok)
        #expect(uncovered(reader) == 0)
    }

    @Test func `an earlier write does not cover a later one`() {
        let host = embedded()
        _ = claim(host)
        write(host, "a", 5, 1)
        #expect(save(host, [change("a", 5, 2)], token: "t") == nil)
        host.advance(milliseconds: 21, heartbeats: false)
        #expect(host.answer(to: host.lastRequest) == .ok)
        #expect(host.slot("user:a") == 2)
    }

    @Test func `a later write of another document does not cover`() {
        let host = embedded()
        _ = claim(host)
        write(host, "b", 9)
        #expect(save(host, [change("a", 5)], token: "t") == nil, "users is newer, user:a is not known")
        host.advance(milliseconds: 21, heartbeats: false)
        #expect(host.slot("user:a") == 2)
        host.advance(milliseconds: 2001)
        #expect(uncovered(host) == 1)
    }

    @Test func `an invalidation that comes late accuses nobody`() {
        let host = embedded()
        _ = claim(host)
        #expect(save(host, [change("a", 5)], token: "t5") == nil)
        host.advance(milliseconds: 500)
        write(host, "a", 5)
        host.advance(milliseconds: 3000)
        #expect(host.slot("user:a") == 2)
        #expect(uncovered(host) == 0)
        #expect(host.loop.engine.feeds[Self.name]?.late == 1)
    }

    @Test func `an invalidation that comes while the change is being appended accuses nobody`() {
        let (reader, writer) = (attached(1), attached(2))
        _ = claim(reader)
        #expect(save(reader, [change("a", 5)], token: "t5") == nil)
        reader.server = nil
        reader.advance(milliseconds: 21, heartbeats: false)
        let commands = reader.upstreamCommands()
        write(writer, "a", 5)
        reader.event(.published(server.incarnation ?? .none, server.entries[0]))
        for command in commands { if let answer = server.execute(command) { reader.event(answer) } }
        #expect(reader.applied == 2)
        reader.server = server
        reader.advance(milliseconds: 3000)
        #expect(uncovered(reader) == 0)
        #expect(reader.loop.engine.feeds[Self.name]?.late == 1)
    }

    @Test func `a write without a time covers nothing`() {
        let host = embedded()
        _ = claim(host)
        host.request(.invalidate(tags: [.text("users"), .text("user:a")], event: nil), from: 2)
        #expect(save(host, [change("a", 5)], token: "t") == nil)
    }

    // MARK: The role

    @Test func `one client reads`() {
        let host = embedded()
        _ = claim(host)
        #expect(claim(host, from: 2) == wait)
        #expect(isNoRole(save(host, [], token: "t", from: 2)))
        host.close(1)
        #expect(claim(host, from: 2) != wait)
        #expect(save(host, [], token: "t", from: 2) == .ok)
    }

    @Test func `a reader that saves nothing loses the role to whoever asks`() {
        let host = embedded()
        _ = claim(host)
        host.advance(milliseconds: 3900)
        #expect(claim(host, from: 2) == wait)
        host.advance(milliseconds: 200)
        #expect(claim(host, from: 2) != wait)
        #expect(isNoRole(save(host, [change("a", 5)], token: "t")))
    }

    @Test func `of several hosts one reads, and another continues behind its token`() {
        let (first, second) = (attached(1), attached(2))
        #expect(claim(first) == tail(nil))
        #expect(claim(second) == wait)
        #expect(save(first, [], token: "t1") == .ok)
        #expect(token() == "t1")
        second.advance(milliseconds: 500)
        #expect(claim(second) == wait, "the probe shows that there is a reader")
        server.data.expireFeedHolder(Self.name)
        #expect(claim(second) == wait, "nothing is asked before a probe has shown that there is none")
        second.advance(milliseconds: 500)
        #expect(claim(second) == tail("t1"))
        first.advance(milliseconds: 2000)
        #expect(isNoRole(save(first, [], token: "t2")), "it was away for too long")
        #expect(token() == "t1")
    }

    @Test func `a host that has lost the role appends nothing`() {
        let (first, second) = (attached(1), attached(2))
        _ = claim(first)
        server.data.expireFeedHolder(Self.name)
        second.advance(milliseconds: 300)
        #expect(claim(second) == tail(nil))
        #expect(save(first, [change("a", 5)], token: "t5") == nil)
        first.advance(milliseconds: 21, heartbeats: false)
        #expect(isNoRole(first.answer(to: first.lastRequest)))
        #expect(server.entries.isEmpty)
        #expect(token() == nil)
    }

    @Test func `a host in use takes the role from an idle one, and not the other way round`() {
        let (first, second) = (attached(1), attached(2))
        _ = claim(first)
        first.advance(milliseconds: 106_000)
        #expect(first.shownState == .idle)
        #expect(claim(first) == tail(nil), "it says that it is idle now")
        #expect(save(first, [], token: "t1") == .ok)
        second.advance(milliseconds: 300)
        #expect(claim(second) == tail("t1"))
        #expect(claim(first) == wait)
    }

    // MARK: Tokens

    @Test func `the token is stored with the entry, and not without it`() {
        let host = attached()
        _ = claim(host)
        #expect(save(host, [], token: "t0") == .ok)
        server.isRefusing = .refused("OOM")
        #expect(save(host, [change("a", 5)], token: "t5") == nil)
        host.advance(milliseconds: 30, heartbeats: false)
        #expect(isIsolated(host.answer(to: host.lastRequest)))
        #expect(token() == "t0")
        server.isRefusing = nil
        host.advance(milliseconds: 1000)
        #expect(host.state == .attached)
        #expect(host.journal.isEmpty, "the database keeps the change: it need not be written down")
        _ = save(host, [change("a", 5)], token: "t5")
        host.advance(milliseconds: 30, heartbeats: false)
        #expect(host.answer(to: host.lastRequest) == .ok)
        #expect(token() == "t5")
        #expect(server.entries.count == 1)
    }

    @Test func `while nothing happens the token is stored from time to time`() {
        let host = attached()
        _ = claim(host)
        #expect(save(host, [], token: "t1") == .ok)
        host.advance(milliseconds: 1000)
        #expect(save(host, [], token: "t2") == .ok)
        #expect(token() == "t1")
        host.advance(milliseconds: 600)
        #expect(save(host, [], token: "t3") == .ok)
        #expect(token() == "t3")
    }

    @Test func `without Redis the host stores the token, after the table`() {
        let host = embedded()
        _ = claim(host)
        _ = host.take()
        _ = save(host, [change("a", 5)], token: "t5")
        host.advance(milliseconds: 21, heartbeats: false)
        let stored = host.take().contains(.storeFeedToken(Self.name, .text("t5")))
        #expect(stored)
        #expect(host.slot("user:a") == 1)
    }

    @Test func `a reset invalidates everything`() {
        let host = attached()
        _ = claim(host)
        #expect(host.request(.feed(.reset(name: Self.name, token: .text("now")))) == .ok)
        #expect(host.slot("*") == 1)
        #expect(token() == "now")
    }

    @Test func `the entry that is lost takes its token with it`() {
        let host = attached()
        _ = claim(host)
        #expect(save(host, [], token: "t0") == .ok)
        _ = save(host, [change("a", 5)], token: "t5")
        host.advance(milliseconds: 30, heartbeats: false)
        #expect(token() == "t5")
        server.goBack(by: 1)
        #expect(token() == "t0")
    }

    // MARK: Limits

    @Test func `one save at a time`() {
        let host = embedded()
        _ = claim(host)
        #expect(save(host, [change("a", 5)], token: "t5") == nil)
        guard case .error(let error) = save(host, [], token: "t6") else {
            Issue.record("accepted")
            return
        }
        #expect(error.code == .busy)
    }

    @Test func `there are at most 16 feeds, and unused ones make room`() {
        let host = embedded()
        for number in 1...16 { _ = host.request(.feed(.claim(name: .text("f\(number)")))) }
        func isRefused() -> Bool {
            guard case .error(let error) = host.request(.feed(.claim(name: .text("f17"))), from: 2) else {
                return false
            }
            return error.code == .busy
        }
        #expect(isRefused())
        host.close(1)
        #expect(!isRefused())
        #expect(host.take().contains(.storeFeedToken(.text("f1"), nil)), "its file goes, too")
        #expect(host.loop.engine.feeds.count == 16)
    }

    @Test func `the role outlasts the change from use to idleness`() {
        let host = attached()
        _ = claim(host)
        #expect(save(host, [], token: "t1") == .ok)
        // The host becomes idle, and its next save still takes the role in time.
        for number in 2...20 {
            host.advance(milliseconds: 1000)
            #expect(save(host, [], token: "t\(number)") == .ok)
        }
        #expect(host.shownState == .idle)
        #expect(token() != "t1")
        // Its own role is no reason to wait for anybody.
        host.close(1)
        #expect(claim(host, from: 2) != wait)
    }

    @Test func `a save that is repeated counts once`() {
        let host = attached()
        _ = claim(host)
        server.isRefusing = .refused("OOM")
        #expect(isIsolated(host.request(.feed(.reset(name: Self.name, token: .text("now"))))))
        server.isRefusing = nil
        host.advance(milliseconds: 1000)
        #expect(host.request(.feed(.reset(name: Self.name, token: .text("now")))) == .ok)
        #expect(host.loop.engine.feeds[Self.name]?.resets == 1)
    }

    @Test func `a tag that looks like a note of the log stands for everything`() {
        let host = embedded()
        host.request(.invalidate(tags: [ByteBuffer(bytes: [0xff, 0x40, 0x74])], event: nil), from: 2)
        #expect(host.slot("*") == 1)
    }

    @Test func `a host that appends all the time, and so sends no probe, takes the role when it is free`() {
        let (first, second) = (attached(1), attached(2))
        #expect(claim(first) == tail(nil))
        #expect(save(first, [], token: "t1") == .ok)
        #expect(claim(second) == wait)
        server.data.expireFeedHolder(Self.name)
        first.close(1)
        for number in 1...12 {
            second.advance(milliseconds: 100)
            write(second, "a", UInt32(number))
        }
        #expect(claim(second) == tail("t1"))
    }

    @Test func `a host whose readers cannot read leaves the role to others`() {
        let (first, second) = (attached(1), attached(2))
        #expect(claim(first) == tail(nil))
        #expect(claim(second) == wait)
        #expect(first.request(.feed(.leave(name: Self.name)), from: 1) == .ok)
        server.now += 1
        for host in [first, second] { host.advance(milliseconds: 1000) }
        #expect(claim(first) == wait, "it has just given the role back")
        #expect(claim(second) == tail(nil))
    }

    @Test func `a host that is alone has the role again soon after its reader could not read`() {
        let host = attached()
        #expect(claim(host) == tail(nil))
        #expect(host.request(.feed(.leave(name: Self.name)), from: 1) == .ok)
        server.now += 1
        host.advance(milliseconds: 2000)
        #expect(claim(host) == tail(nil))
    }

    @Test func `own writes of before a restart are known to the next syncd`() {
        let host = attached()
        #expect(claim(host) == tail(nil))
        #expect(save(host, [], token: "t1") == .ok)
        host.advance(milliseconds: 500)
        write(host, "a", 5)
        let next = attached(7)
        server.data.expireFeedHolder(Self.name)
        next.advance(milliseconds: 500)
        #expect(claim(next) == tail("t1"))
        #expect(save(next, [change("a", 5)], token: "t5") == .ok)
        next.advance(milliseconds: 3000)
        #expect(uncovered(next) == 0)
    }
}
