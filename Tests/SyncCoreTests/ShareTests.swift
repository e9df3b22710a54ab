import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// Shared resources are not for one client alone: half of each for a process, three quarters for a user.
@Suite struct ShareTests {
    /// The resources of a client. Clients' own places are counted by ``EngineHarness/hasRoom(for:)``.
    enum Kind: CaseIterable { case lease, waiter, subscription, pattern }

    private static let limit = 64
    /// Connections of each process, by its number. 1 and 2 are of one user, 3 is of another.
    private static let clients: [Int32: [ClientID]] = [1: [1, 2, 3], 2: [4, 5], 3: [6, 7]]
    private static let users: [Int32: UInt32] = [1: 1000, 2: 1000, 3: 1001]
    private static let holder: ClientID = 20

    /// A host with a limit of one kind.
    private static func host(_ kind: Kind, limit: Int = limit) -> EngineHarness {
        var limits = Limits()
        switch kind {
        case .lease: limits.leases = limit
        case .waiter: limits.waiters = limit
        case .subscription: limits.subscriptions = limit
        case .pattern: limits.patterns = limit
        }
        let host = EngineHarness(.embedded, limits: limits)
        for (process, ids) in clients {
            for id in ids { host.client(id, peer: Peer(pid: process, uid: users[process] ?? 0)) }
        }
        host.client(holder, peer: Peer(pid: 9, uid: 0))
        return host
    }

    /// Takes one more through each connection of a process by turns until that is refused. Returns how many it got.
    private func takeAll(_ kind: Kind, _ process: Int32, on host: EngineHarness) -> Int {
        let ids = Self.clients[process] ?? []
        for count in 0...2 * Self.limit where !take(kind, ids[count % ids.count], host) { return count }
        return .max
    }

    private func take(_ kind: Kind, _ client: ClientID, _ host: EngineHarness) -> Bool {
        // One that nobody has.
        let name = ByteBuffer.text("name-\(host.lastRequest)")
        switch kind {
        case .lease:
            guard case .fetched(.lease)? = host.request(.fetch(key: name, waitMilliseconds: nil), from: client) else {
                return false
            }
            return true
        case .waiter:
            _ = host.request(.fetch(key: .text("held"), waitMilliseconds: nil), from: Self.holder)
            let reply = host.request(.fetch(key: .text("held"), waitMilliseconds: 100), from: client)
            if case .error? = reply { return false }
            return true
        case .subscription, .pattern:
            let request: Request = kind == .pattern ? .patternSubscribe([name]) : .subscribe([name])
            guard case .subscriptions? = host.request(request, from: client) else { return false }
            return true
        }
    }

    @Test(arguments: Kind.allCases)
    func `a process gets half, its user three quarters, and the rest is left for others`(_ kind: Kind) {
        let host = Self.host(kind)
        #expect(takeAll(kind, 1, on: host) == 32, "of all of its connections together")
        #expect(takeAll(kind, 2, on: host) == 16, "of the same user")
        #expect(takeAll(kind, 3, on: host) == 16)
        #expect(takeAll(kind, 1, on: host) == 0 && takeAll(kind, 2, on: host) == 0)
    }

    @Test(arguments: Kind.allCases) func `whoever takes less than half leaves the rest to one process`(_ kind: Kind) {
        let host = Self.host(kind)
        #expect(takeAll(kind, 3, on: host) == 32)
        #expect(takeAll(kind, 1, on: host) == 32, "another user's half")
    }

    @Test(arguments: Kind.allCases) func `a connection that ends gives its part back`(_ kind: Kind) {
        let host = Self.host(kind)
        #expect(takeAll(kind, 1, on: host) == 32)
        host.close(1)
        host.client(1, peer: Peer(pid: 1, uid: 1000))
        #expect(takeAll(kind, 1, on: host) == 11, "those of one of its three connections")
    }

    @Test(arguments: [Kind.lease, .waiter])
    func `a lease that ends, and a wait that is over, are given back`(_ kind: Kind) {
        let host = Self.host(kind)
        #expect(takeAll(kind, 1, on: host) == 32)
        host.advance(milliseconds: kind == .lease ? 10_100 : 200)
        #expect(takeAll(kind, 3, on: host) == 32)
        #expect(takeAll(kind, 1, on: host) == 32, "what it had is not counted any more")
    }

    @Test func `what one request asks for counts as a whole`() {
        let names = (0..<33).map { ByteBuffer.text("name-\($0)") }
        for (kind, request) in [(Kind.subscription, Request.subscribe(names)), (.pattern, .patternSubscribe(names))] {
            let host = Self.host(kind)
            guard case .error(let refusal)? = host.request(request, from: 1) else {
                Issue.record("it was taken")
                return
            }
            #expect(refusal.code == .busy)
            #expect(takeAll(kind, 1, on: host) == 32, "half is for one process")
        }
    }

    @Test func `a client whose process nobody knows has the share of its user`() {
        let host = Self.host(.lease)
        for id in ClientID.all(30...33) { host.client(id, peer: Peer(pid: 0, uid: 1002)) }
        let taken = (0..<Self.limit).prefix { take(.lease, ClientID(UInt64(30 + $0 % 4)), host) }
        #expect(taken.count == 48)
    }

    @Test(arguments: Kind.allCases) func `small limits are not divided`(_ kind: Kind) {
        #expect(takeAll(kind, 1, on: Self.host(kind, limit: 63)) == 63)
    }

    @Test func `places of clients are shared in the same way`() {
        var limits = Limits()
        limits.clients = Self.limit
        let host = EngineHarness(.embedded, limits: limits)
        var next: ClientID = 0
        func connectAll(_ peer: Peer) -> Int {
            var count = 0
            while host.hasRoom(for: peer) {
                next += 1
                count += 1
                host.client(next, peer: peer)
            }
            return count
        }
        #expect(connectAll(Peer(pid: 1, uid: 1000)) == 32)
        #expect(connectAll(Peer(pid: 2, uid: 1000)) == 16)
        #expect(connectAll(Peer(pid: 3, uid: 1000)) == 0)
        #expect(connectAll(Peer(pid: 4, uid: 0)) == 16, "there is a place for whoever looks at what is going on")
        #expect(connectAll(Peer(pid: 5, uid: 0)) == 0)
        host.close(1)
        #expect(connectAll(Peer(pid: 3, uid: 1000)) == 1)
    }
}
