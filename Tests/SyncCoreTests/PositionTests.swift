import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// FETCH … AFTER: docs/consistency.md, "Reading your own writes".
@Suite struct PositionTests {
    let server = HarnessServer()
    let host: EngineHarness

    init() {
        host = EngineHarness.attached(server)
        host.client(1)
        host.client(2, version: .v2)
        _ = host.take()
    }

    private func position(_ number: LogPosition, _ log: Incarnation? = nil) -> SyncPosition {
        SyncPosition(SyncPosition.Place(incarnation: log ?? host.table.incarnation, position: number))
    }

    private func fetch(
        after position: SyncPosition, wait: UInt64? = nil, from client: ClientID = 1
    ) -> Reply? {
        host.request(.fetchAfter(position, key: .text("k"), waitMilliseconds: wait), from: client)
    }

    /// A value "v" that position 1 invalidates.
    private func store() throws {
        guard case .fetched(.lease(let lease)) = host.request(.fetch(key: .text("k"), waitMilliseconds: nil)) else {
            throw TestFailure("no lease")
        }
        let fill = Fill(
            key: .text("k"), lease: lease.id, ttlMilliseconds: 60_000, tags: [.text("t")], value: .text("v"))
        #expect(host.request(.fill(fill)) == .ok)
        _ = host.take()
    }

    private func isHit(_ reply: Reply?) -> Bool { if case .fetched(.hit) = reply { true } else { false } }

    private func ticket(_ reply: Reply?) throws -> UInt64 {
        guard case .wait(let ticket) = reply else { throw TestFailure("no ticket: \(String(describing: reply))") }
        return ticket
    }

    @Test func `a position that is applied makes no difference`() throws {
        try store()
        #expect(isHit(fetch(after: position(0))))
        server.appendElsewhere("t")
        host.deliver()
        guard case .fetched(.lease(let lease)) = fetch(after: position(1)) else { throw TestFailure("no lease") }
        #expect(lease.asOf == 1)
    }

    @Test func `without WAIT, and in RESP2, a position that is not applied is a miss`() throws {
        try store()
        #expect(fetch(after: position(1)) == .fetched(.miss))
        #expect(fetch(after: position(1), wait: 0) == .fetched(.miss))
        #expect(fetch(after: position(1), wait: 1000, from: 2) == .fetched(.miss))
    }

    @Test func `a position that is unknown, or of another log, is a miss, also with WAIT`() throws {
        try store()
        #expect(fetch(after: .unknown, wait: 1000) == .fetched(.miss))
        #expect(fetch(after: position(0, Incarnation(high: 1, low: 1)), wait: 1000) == .fetched(.miss))
    }

    @Test func `with WAIT the outcome comes when it is applied`() throws {
        try store()
        let ticket = try ticket(fetch(after: position(1), wait: 1000))
        let later = try self.ticket(fetch(after: position(2), wait: 1000))
        #expect(host.takePushes() == [])
        server.appendElsewhere("t")
        host.deliver()
        guard case .fetched(ticket: ticket, .lease(let lease)) = host.takePushes().first else {
            throw TestFailure("no lease")
        }
        #expect(lease.asOf == 1)
        server.appendElsewhere("other")
        host.deliver()
        #expect(host.takePushes() == [], "somebody loads it, so this one waits on, with the ticket that it has")
        let fill = Fill(
            key: .text("k"), lease: lease.id, ttlMilliseconds: 60_000, tags: [.text("t")], value: .text("n"))
        #expect(host.request(.fill(fill)) == .ok)
        guard case .fetched(ticket: later, .hit(let hit)) = host.takePushes().first else { throw TestFailure("no hit") }
        #expect(hit.value == .text("n"))
    }

    @Test func `a value that is still fresh at the position is the outcome`() throws {
        try store()
        let ticket = try ticket(fetch(after: position(1), wait: 1000))
        server.appendElsewhere("other")
        host.deliver()
        guard case .fetched(ticket: ticket, .hit(let hit)) = host.takePushes().first else {
            throw TestFailure("no hit")
        }
        #expect(hit.value == .text("v") && hit.asOf == 0)
    }

    @Test func `a position that does not come is a miss after 50 ms, or after a shorter WAIT`() throws {
        try store()
        let short = try ticket(fetch(after: position(1), wait: 20))
        let long = try ticket(fetch(after: position(1), wait: 1000))
        host.advance(milliseconds: 19)
        #expect(host.takePushes() == [])
        host.advance(milliseconds: 1)
        #expect(host.takePushes() == [.fetched(ticket: short, .miss)])
        host.advance(milliseconds: 29)
        #expect(host.takePushes() == [])
        host.advance(milliseconds: 1)
        #expect(host.takePushes() == [.fetched(ticket: long, .miss)])
        server.appendElsewhere("t")
        host.deliver()
        #expect(host.takePushes() == [])
    }

    @Test func `an isolated host, and a log that is replaced, end the waits`() throws {
        try store()
        let old = host.table.incarnation
        let ticket = try ticket(fetch(after: position(1), wait: 1000))
        server.replaceElsewhere(Incarnation(high: 9, low: 9))
        host.event(.publishedUnreadable)
        host.settle()
        #expect(host.takePushes().contains(.fetched(ticket: ticket, .miss)))
        #expect(host.table.incarnation != old && host.state == .attached)
        #expect(fetch(after: position(0, old), wait: 1000) == .fetched(.miss))
    }

    @Test func `a client that leaves waits no more, and there is room for some`() throws {
        _ = try ticket(fetch(after: position(1), wait: 1000))
        host.close(1)
        server.appendElsewhere("t")
        host.deliver()
        #expect(host.takePushes() == [])
        host.client(3)
        for _ in 0..<512 { _ = try ticket(fetch(after: position(9), wait: 1000, from: 3)) }
        #expect(fetch(after: position(9), wait: 1000, from: 3) == .fetched(.miss), "half of the places is for others")
    }
}
