import EngineTesting
import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// docs/consistency.md, "Idle hosts", and what else is as good as a probe.
@Suite struct IdleTests {
    let server = HarnessServer()
    private static let key = ByteBuffer.text("k")

    /// A host with one value that nobody has used for a while.
    private func idleHost() throws -> EngineHarness {
        let host = EngineHarness.attached(server)
        host.client(1)
        guard case .fetched(.lease(let lease)) = fetch(host) else { throw TestFailure("no lease") }
        let fill = Fill(
            key: Self.key, lease: lease.id, ttlMilliseconds: 3_600_000, tags: [.text("t")], value: .text("v"))
        #expect(host.request(.fill(fill)) == .ok)
        host.advance(milliseconds: Limits().idleNanoseconds / 1_000_000 + 3000)
        #expect(host.shownState == .idle)
        return host
    }

    private func fetch(_ host: EngineHarness) -> Reply? { host.request(.fetch(key: Self.key, waitMilliseconds: nil)) }

    private func isHit(_ reply: Reply?) -> Bool { if case .fetched(.hit) = reply { true } else { false } }

    private func vouches(_ host: EngineHarness) -> Bool { Trust(host.table).distrust(at: host.now) == nil }

    @Test func `Redis is asked seldom while nobody reads`() throws {
        let host = try idleHost()
        #expect(!vouches(host) && host.state == .attached)
        let before = server.probes
        host.advance(milliseconds: 600_000)
        #expect((6...7).contains(server.probes - before), "once in 90 s")
        #expect(host.shownState == .idle && host.table.heartbeat + 200_000_000 > host.now)
    }

    @Test func `the first reader gets the value after one probe, and the host is in use again`() throws {
        let host = try idleHost()
        let before = server.probes
        #expect(isHit(fetch(host)))
        #expect(server.probes == before + 1)
        #expect(vouches(host) && host.shownState == .attached)
        host.advance(milliseconds: 5000)
        #expect(server.probes > before + 15 && vouches(host))
    }

    @Test func `a value that is on this host only is found, too`() throws {
        let host = try idleHost()
        server.data.values = [:]
        #expect(isHit(fetch(host)))
    }

    @Test(arguments: [true, false]) func `what was invalidated meanwhile is no hit`(isHeard: Bool) throws {
        let host = try idleHost()
        host.isListening = isHeard
        server.appendElsewhere("t", isPublished: isHeard)
        host.deliver()
        #expect(!isHit(fetch(host)))
        host.advance(milliseconds: 1000)
        #expect(vouches(host))
        #expect(!isHit(fetch(host)))
    }

    @Test func `nothing is answered from cache before the probe is answered`() throws {
        let host = try idleHost()
        host.isLinked = false
        #expect(fetch(host) == nil)
        let asked = host.lastRequest
        let commands = host.upstreamCommands()
        guard case .probe? = commands.first, case .get? = commands.last, commands.count == 2 else {
            throw TestFailure("other commands: \(commands)")
        }
        host.advance(milliseconds: 250)
        #expect(host.answer(to: asked) == .fetched(.miss), "after the time of a lookup it is read from the database")
        host.advance(milliseconds: 3000)
        #expect(host.state == .isolated)
    }

    @Test func `hits in memory that a worker reports keep a host in use`() throws {
        let host = EngineHarness.attached(server)
        host.client(1)
        for (name, isInUse) in [("l1-hits", true), ("shared-hits", true), ("l1-misses", false)] {
            for second in 1...60 {
                host.request(.report([ReportField(name: .text(name), value: .text("\(second)"))]))
                host.advance(milliseconds: 1000)
            }
            #expect((host.shownState == .attached) == isInUse, "\(name)")
            for _ in 1...60 {
                host.request(.report([ReportField(name: .text(name), value: .text("60"))]))
                host.advance(milliseconds: 1000)
            }
            #expect(host.shownState == .idle, "\(name) does not grow any more")
        }
    }

    @Test func `a client with a cache of its own keeps a host in use`() throws {
        let host = try idleHost()
        host.request(.track(true))
        #expect(vouches(host))
        host.advance(milliseconds: 60_000)
        #expect(vouches(host) && host.shownState == .attached)
    }

    @Test func `the time of a state begins with the state`() throws {
        let host = EngineHarness.attached(server)
        host.client(1)
        func since() -> StatusValue? {
            guard
                case .fields(let fields) = host.loop.engine.statusSection("log", now: host.now, transport: { _ in nil })
            else { return nil }
            return fields.first { $0.name == "since-ms" }?.value
        }
        host.advance(milliseconds: 60_000)
        let wasIdle = host.loop.engine.log.isIdle
        #expect(wasIdle)
        _ = host.request(.fetch(key: .text("k"), waitMilliseconds: nil))
        host.deliver()
        host.advance(milliseconds: 500)
        #expect(since() == .number(500))
    }

    @Test func `an idle host without Redis is isolated, and idle again when Redis is back`() throws {
        let host = try idleHost()
        host.disconnect()
        host.advance(milliseconds: 200)
        #expect(host.state == .isolated)
        host.connect()
        host.settle()
        #expect(host.state == .attached)
        host.advance(milliseconds: 60_000)
        #expect(host.shownState == .idle)
    }

    @Test func `an idle host whose probe is refused is isolated, and tries again soon`() throws {
        let host = try idleHost()
        server.isRefusingProbes = .refused("CLUSTERDOWN")
        server.isRefusing = .refused("CLUSTERDOWN")
        host.advance(milliseconds: 90_000)
        #expect(host.state == .isolated)
        server.isRefusingProbes = nil
        server.isRefusing = nil
        host.advance(milliseconds: 1000)
        #expect(host.state == .attached)
    }

    @Test func `garbage on the channel does not isolate an idle host`() throws {
        let host = try idleHost()
        host.event(.publishedUnreadable)
        host.advance(milliseconds: 1000)
        #expect(host.state == .attached)
        #expect(host.takeNotices().allSatisfy { if case .isolated = $0 { false } else { true } })
    }

    /// An isolated host must not wait for the long interval.
    @Test func `a late append on an idle host ends with short intervals`() throws {
        let host = try idleHost()
        host.isLinked = false
        host.request(.invalidate(tags: [.text("u")], event: nil))
        host.advance(milliseconds: 400)
        #expect(host.state == .isolated)
        host.disconnect()
        host.connect()
        host.settle()
        host.advance(milliseconds: 1000)
        #expect(host.state == .attached && vouches(host))
    }

    @Test func `0 means never`() throws {
        var limits = Limits()
        limits.idleNanoseconds = 0
        let host = EngineHarness(.redis, server: server, limits: limits)
        host.connect()
        host.settle()
        host.advance(milliseconds: 120_000)
        #expect(host.shownState == .attached && vouches(host))
    }

    // MARK: Appends

    @Test func `appends are as good as probes`() {
        let host = EngineHarness.attached(server)
        host.client(1)
        host.request(.invalidate(tags: [.text("t")], event: nil))
        let before = server.probes
        for _ in 0..<50 {
            host.advance(milliseconds: 100)
            host.request(.invalidate(tags: [.text("t")], event: nil))
            #expect(host.table.freshAsOf == host.now)
        }
        #expect(server.probes <= before + 1)
    }

    @Test func `an append behind a missing entry proves nothing`() {
        let host = EngineHarness.attached(server)
        host.client(1)
        host.isListening = false
        host.advance(milliseconds: 10)
        server.appendElsewhere("t", isPublished: false)
        let before = host.table.freshAsOf
        host.request(.invalidate(tags: [.text("u")], event: nil))
        #expect(host.table.freshAsOf == before && host.table.freshAsOf < host.now)
    }

    // MARK: The time for which an answer vouches

    @Test func `a shorter time is kept by workers that know only the longest`() throws {
        var limits = Limits()
        limits.upstreamTrustNanoseconds = 500_000_000
        let host = EngineHarness(.redis, server: server, limits: limits)
        host.connect()
        host.settle()
        #expect(vouches(host))
        host.client(1)
        guard case .fetched(.lease) = fetch(host) else { throw TestFailure("a host that has just started is trusted") }
        host.isLinked = false
        host.advance(milliseconds: 510)
        #expect(!vouches(host) && host.state == .isolated)
        #expect(host.status("why") == .text("Redis has not answered a probe for 500 ms"))
    }
}
