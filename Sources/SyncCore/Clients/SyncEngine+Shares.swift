import IPCWire
import NIOCore

// All clients share places, leases, waiters, subscriptions and patterns. One process gets at most half of each, and one
// user three quarters. The rest is reserved for others, so that no client can lock out the workers by taking
// everything.
extension SyncEngine {
    /// Smaller limits are not divided: they are used in tests and on hosts with a few clients of one kind.
    private static let leastDivided = 64

    /// Whether one more client has a place.
    package func hasRoom(for peer: Peer) -> Bool {
        clients.count < limits.clients && isWithinShare(peer, total: clients.count, limit: limits.clients) { _ in 1 }
    }

    /// Whether a client's process and user may have `more` additional items, of which `total` are in use.
    func isWithinShare(
        _ client: ClientID, total: Int, more: Int = 1, limit: Int, count: (ClientID) -> Int
    ) -> Bool {
        guard let peer = clients[client]?.peer else { return true }
        return isWithinShare(peer, total: total, more: more, limit: limit, count: count)
    }

    private func isWithinShare(
        _ peer: Peer, total: Int, more: Int = 1, limit: Int, count: (ClientID) -> Int
    ) -> Bool {
        // While half is free, no process can have more than half.
        guard limit >= Self.leastDivided, total + more > limit / 2 else { return true }
        var (ofUser, ofProcess) = (more, more)
        for (id, other) in clients where other.peer.uid == peer.uid {
            let held = count(id)
            ofUser += held
            if other.peer.pid == peer.pid { ofProcess += held }
        }
        // The kernel shows no process of another container.
        return ofUser <= limit / 4 * 3 && (peer.pid <= 0 || ofProcess <= limit / 2)
    }
}
