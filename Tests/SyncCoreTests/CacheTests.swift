import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// FETCH, FILL and leases, with the cache in syncd's own memory.
@Suite struct CacheTests {
    let host: EngineHarness

    init() {
        host = EngineHarness(.embedded)
        for id in ClientID.all(1...4) { host.client(id) }
        _ = host.take()
    }

    private func fetch(_ key: String, wait: UInt64? = nil, from client: ClientID = 1) -> Reply? {
        host.request(.fetch(key: .text(key), waitMilliseconds: wait), from: client)
    }

    private func lease(_ key: String, from client: ClientID = 1) throws -> Lease {
        guard case .fetched(.lease(let lease)) = fetch(key, from: client) else {
            throw TestFailure("no lease for \(key)")
        }
        return lease
    }

    @discardableResult
    private func fill(
        _ key: String, _ lease: Lease, tags: [String] = ["t"], value: String? = "v", ttl: UInt64 = 60_000,
        from client: ClientID = 1
    ) -> Reply? {
        host.request(
            .fill(
                Fill(
                    key: .text(key), lease: lease.id, ttlMilliseconds: ttl, tags: tags.map { .text($0) },
                    value: value.map { .text($0) })), from: client)
    }

    private func invalidate(_ tags: String...) -> Reply? {
        host.request(.invalidate(tags: tags.map { .text($0) }, event: nil), from: 4)
    }

    private func renew(_ key: String, ttl: UInt64, from client: ClientID = 1) -> Reply? {
        host.request(.renew(key: .text(key), ttlMilliseconds: ttl), from: client)
    }

    private func isStale(_ reply: Reply?, _ code: ErrorCode = .stale) -> Bool {
        if case .error(let error) = reply { error.code == code } else { false }
    }

    private func hit(_ reply: Reply?) -> Hit? {
        if case .fetched(.hit(let hit)) = reply { hit } else { nil }
    }

    @Test func `a filled value is a hit until a tag is invalidated`() throws {
        #expect(fill("k", try lease("k")) == .ok)
        #expect(hit(fetch("k", from: 2))?.value == .text("v"))
        #expect(hit(fetch("k", from: 2))?.tags == [.text("t")])
        #expect(invalidate("other") == .integer(1))
        #expect(hit(fetch("k"))?.asOf == 0)
        #expect(invalidate("t") == .integer(2))
        #expect(hit(fetch("k")) == nil)
    }

    @Test(arguments: ["*", "=k", "t"]) func `every tag of an entry reaches it`(tag: String) throws {
        fill("k", try lease("k"))
        #expect(hit(fetch("k")) != nil)
        _ = invalidate(tag)
        #expect(hit(fetch("k")) == nil)
    }

    @Test func `a negative result is a hit without a value`() throws {
        fill("k", try lease("k"), value: nil)
        let found = try #require(hit(fetch("k")))
        #expect(found.value == nil)
    }

    @Test func `a value dies with its time to live`() throws {
        fill("k", try lease("k"), ttl: 1000)
        host.advance(milliseconds: 900)
        #expect(hit(fetch("k"))?.ttlMilliseconds == 100)
        host.advance(milliseconds: 200)
        #expect(hit(fetch("k")) == nil)
    }

    @Test func `a fill after an invalidation is refused`() throws {
        let lease = try lease("k")
        _ = invalidate("t")
        #expect(isStale(fill("k", lease)))
        #expect(hit(fetch("k")) == nil)
    }

    @Test func `a fill that does not depend on the invalidation is accepted`() throws {
        let lease = try lease("k")
        _ = invalidate("u")
        #expect(fill("k", lease) == .ok)
    }

    @Test func `only the holder may fill and only once`() throws {
        let lease = try lease("k")
        #expect(isStale(fill("k", lease, from: 2), .noLease))
        #expect(isStale(fill("j", lease), .noLease))
        let forged = Lease(id: lease.id + 1, asOf: lease.asOf, epoch: lease.epoch)
        #expect(isStale(fill("k", forged), .noLease))
        #expect(fill("k", lease) == .ok)
        #expect(isStale(fill("k", lease), .noLease))
    }

    @Test func `who comes later waits and gets the value`() throws {
        let lease = try lease("k")
        guard case .wait(let ticket) = fetch("k", wait: 1000, from: 2) else {
            Issue.record("a second asker waits")
            return
        }
        #expect(fetch("k", from: 3) == .fetched(.miss), "without WAIT it is a miss")
        _ = host.take()
        #expect(fill("k", lease) == .ok)
        guard case .fetched(ticket, .hit(let hit)) = host.takePushes().first else {
            Issue.record("the waiter gets the value")
            return
        }
        #expect(hit.value == .text("v"))
    }

    @Test func `the next waiter gets the lease with a new position`() throws {
        let first = try lease("k")
        #expect(fetch("k", wait: 5000, from: 2) == .wait(ticket: 1))
        #expect(fetch("k", wait: 5000, from: 3) == .wait(ticket: 2))
        _ = invalidate("t")
        _ = host.take()
        #expect(isStale(fill("k", first)))
        guard case .fetched(1, .lease(let second)) = host.takePushes().first else {
            Issue.record("the first waiter gets the lease")
            return
        }
        #expect(second.asOf == 1)
        #expect(second.id != first.id)
        host.close(2)
        guard case .fetched(2, .lease(let third)) = host.takePushes().first else {
            Issue.record("a dead holder is replaced at once")
            return
        }
        host.request(.abandon(key: .text("k"), lease: third.id), from: 3)
        #expect(try lease("k", from: 1).id != third.id)
    }

    @Test func `a wait ends with a miss`() throws {
        _ = try lease("k")
        #expect(fetch("k", wait: 300, from: 2) == .wait(ticket: 1))
        host.advance(milliseconds: 299)
        #expect(host.takePushes().isEmpty)
        host.advance(milliseconds: 1)
        #expect(host.takePushes() == [.fetched(ticket: 1, .miss)])
    }

    @Test func `a lease ends after ten seconds`() throws {
        let lease = try lease("k")
        #expect(fetch("k", wait: 60_000, from: 2) == .wait(ticket: 1))
        host.advance(milliseconds: 10_000)
        guard case .fetched(1, .lease) = host.takePushes().first else {
            Issue.record("the waiter takes the expired lease over")
            return
        }
        #expect(isStale(fill("k", lease), .noLease))
    }

    @Test func `a sleeping syncd answers nothing from cache until it has written a heartbeat`() throws {
        fill("k", try lease("k"))
        let lease = try lease("l")
        host.now += TrustTiming.fenceNanoseconds + 1
        #expect(fetch("k") == .fetched(.miss))
        #expect(isStale(fill("l", lease)))
        host.heartbeat()
        #expect(hit(fetch("k")) != nil)
    }

    @Test func `RENEW gives one asker a lease although a fresh value is there, and FILL replaces that`() throws {
        fill("k", try lease("k"), ttl: 10_000)
        host.advance(milliseconds: 4000)
        guard case .fetched(.lease(let renewal)) = renew("k", ttl: 6000) else { throw TestFailure("no lease") }
        #expect(renew("k", ttl: 6000, from: 2) == .fetched(.miss), "somebody loads it already")
        #expect(hit(fetch("k", wait: 1000, from: 2))?.value == .text("v"), "nobody waits for a value that is there")
        #expect(fill("k", renewal, value: "w") == .ok)
        #expect(hit(fetch("k"))?.value == .text("w"))
        #expect(hit(renew("k", ttl: 6000, from: 2))?.value == .text("w"), "it lives longer than that of the asker")
        #expect(hit(renew("k", ttl: 60_000, from: 2)) == nil, "and not longer than this")
    }

    @Test func `a renewal is a load like any other once the value is gone`() throws {
        fill("k", try lease("k"))
        guard case .fetched(.lease(let renewal)) = renew("k", ttl: 60_000) else { throw TestFailure("no lease") }
        _ = invalidate("t")
        guard case .wait(let ticket) = fetch("k", wait: 5000, from: 2) else { throw TestFailure("no ticket") }
        _ = host.take()
        #expect(isStale(fill("k", renewal)))
        guard case .fetched(ticket, .lease(let second)) = host.takePushes().first else {
            throw TestFailure("the next in line gets a lease")
        }
        #expect(second.asOf == 1)
    }

    @Test func `a renewal whose holder leaves ends, and the value stays`() throws {
        fill("k", try lease("k"))
        guard case .fetched(.lease(let renewal)) = renew("k", ttl: 60_000, from: 2) else {
            throw TestFailure("no lease")
        }
        host.close(2)
        #expect(isStale(fill("k", renewal), .noLease))
        #expect(hit(fetch("k"))?.value == .text("v"))
        guard case .fetched(.lease) = renew("k", ttl: 60_000) else { throw TestFailure("no lease") }
    }

    @Test func `RENEW of a key that is not there, or is being loaded`() throws {
        guard case .fetched(.lease) = renew("k", ttl: 0) else { throw TestFailure("no lease") }
        #expect(renew("k", ttl: 0, from: 2) == .fetched(.miss))
        _ = try lease("l")
        #expect(renew("l", ttl: 0, from: 2) == .fetched(.miss))
        host.now += TrustTiming.fenceNanoseconds + 1
        #expect(renew("m", ttl: 0) == .fetched(.miss), "nothing is answered from cache")
    }

    @Test func `no place is busy`() throws {
        var limits = Limits()
        limits.leases = 1
        limits.waitersPerKey = 1
        let host = EngineHarness(.embedded, limits: limits)
        host.client(1)
        _ = host.request(.fetch(key: .text("a"), waitMilliseconds: nil))
        for key in ["b", "a"] {
            let replies = (0..<2).map { _ in host.request(.fetch(key: .text(key), waitMilliseconds: 9)) }
            guard case .error(let error) = replies.last ?? nil else {
                Issue.record("no place for \(key)")
                return
            }
            #expect(error.code == .busy)
        }
    }

    @Test func `keys are bytes and never merged`() throws {
        let composed = ByteBuffer(bytes: [0xc3, 0xa9])
        let decomposed = ByteBuffer(bytes: [0x65, 0xcc, 0x81])
        guard case .fetched(.lease(let lease)) = host.request(.fetch(key: composed, waitMilliseconds: nil)) else {
            throw TestFailure("no lease")
        }
        host.request(.fill(Fill(key: composed, lease: lease.id, ttlMilliseconds: 1000, tags: [], value: .text("x"))))
        #expect(hit(host.request(.fetch(key: composed, waitMilliseconds: nil))) != nil)
        #expect(hit(host.request(.fetch(key: decomposed, waitMilliseconds: nil))) == nil)
    }
}

struct TestFailure: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}
