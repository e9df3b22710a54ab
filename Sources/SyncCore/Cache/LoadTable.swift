import DequeModule
import IPCWire
import NIOCore

/// A request that waits for a key's load.
struct Waiter: Sendable, Hashable {
    var client: ClientID
    var ticket: UInt64
    var deadline: BootTime
}

/// The loads that are under way: the lease holder of each key, and the waiters for its value.
///
/// There is at most one lease per key. When it ends without a value, the next waiter gets one, with a new `asOf`. Keys
/// and ids are looked up in dictionaries. Operations on many keys go in the order of lease ids, so that the same events
/// have the same effects.
struct LoadTable: Sendable {
    struct Load: Sendable {
        var holder: ClientID
        var lease: Lease
        var deadline: BootTime
        var waiters: Deque<Waiter> = []
        /// A fresh value was there when the load began: who asks for it need not wait.
        var isRenewal = false
    }

    enum Event: Sendable, Hashable {
        case lease(key: ByteBuffer, LeaseID)
        case waiter(key: ByteBuffer, ticket: UInt64)
    }

    /// The result of a fetch whose key is not in the cache.
    enum Admission: Equatable {
        case lease(Lease)
        case wait(ticket: UInt64)
        /// The key is being loaded, and the request does not wait.
        case loading
        case full
    }

    private(set) var loads: [ByteBuffer: Load] = [:]
    /// The tickets of all waiters.
    private var waiting: Set<UInt64> = []
    var waiterCount: Int { waiting.count }
    /// Clients that have had a lease or a waiter. Other clients need no cleanup.
    private var clients: Set<ClientID> = []
    /// Number of leases and of waiters per client.
    private var leasesOf: [ClientID: Int] = [:]
    private var waitersOf: [ClientID: Int] = [:]
    private(set) var deadlines = Deadlines<Event>()
    var limits: Limits
    private var nextLease: LeaseID
    private var nextTicket: UInt64 = 0

    /// Lease ids begin at the time in µs. A later process begins above all ids of an earlier one, which would have
    /// needed more than a million leases a second to reach that number.
    init(limits: Limits, now: BootTime) {
        self.limits = limits
        nextLease = breaks(.leaseIDsRepeat) ? 0 : LeaseID(now.number / 1000)
    }

    var leaseCount: Int { loads.count }
    func leases(of client: ClientID) -> Int { leasesOf[client] ?? 0 }
    func waiters(of client: ClientID) -> Int { waitersOf[client] ?? 0 }

    private static func subtract(_ client: ClientID, _ counts: inout [ClientID: Int]) {
        guard let count = counts[client] else { return }
        counts[client] = count > 1 ? count - 1 : nil
    }

    private mutating func remove(_ key: ByteBuffer) -> Load? {
        guard let load = loads.removeValue(forKey: key) else { return nil }
        Self.subtract(load.holder, &leasesOf)
        return load
    }

    /// Removes a ticket. Returns whether it existed.
    private mutating func endWait(_ ticket: UInt64, _ client: ClientID) -> Bool {
        guard waiting.remove(ticket) != nil else { return false }
        Self.subtract(client, &waitersOf)
        return true
    }

    /// The next time at which ``takeDue(_:)`` returns something.
    mutating func nextDeadline() -> BootTime? {
        let (loads, waiting) = (loads, waiting)
        func isOpen(_ event: Event) -> Bool {
            switch event {
            case .lease(let key, let lease): loads[key]?.lease.id == lease
            case .waiter(_, let ticket): waiting.contains(ticket)
            }
        }
        // Settled items are removed when they are first. They must not accumulate behind one that takes long.
        if deadlines.count > 2 * (loads.count + waiting.count) + 1024 { deadlines.removeAll { !isOpen($0) } }
        return deadlines.next(where: isOpen)
    }

    func isLoading(_ key: ByteBuffer) -> Bool { loads[key] != nil }
    func isRenewing(_ key: ByteBuffer) -> Bool { loads[key]?.isRenewal ?? false }
    func load(_ key: ByteBuffer) -> Load? { loads[key] }

    /// Gives the request the lease, or a place among the waiters.
    ///
    /// - Parameters:
    ///   - ticket: that the client has already; `nil`: a waiter gets a new one.
    ///   - isRenewal: whether a fresh value is there all the same.
    ///   - isWithinShare: whether the asker may have one more lease or wait once more, as far as the shares of processes and users
    ///     go.
    mutating func admit(
        _ key: ByteBuffer, client: ClientID, wait: UInt64?, ticket: UInt64? = nil, isRenewal: Bool = false,
        asOf: LogPosition, epoch: Epoch, now: BootTime, isWithinShare: (_ isLease: Bool) -> Bool = { _ in true }
    ) -> Admission {
        let present = loads[key]
        let isSecond =
            isRenewal && breaks(.renewedByEverybody) || breaks(.twoLeases) && present?.waiters.isEmpty == false
        guard let load = present, !isSecond else {
            guard loads.count < limits.leases, isWithinShare(true) else { return .full }
            let lease = grant(
                key.compacted, to: client, waiters: present?.waiters ?? [], asOf: asOf, epoch: epoch, now: now)
            if isRenewal { loads[key]?.isRenewal = true }
            return .lease(lease)
        }
        // A request that gets here has not found the value that was to be renewed.
        if load.isRenewal { loads[key]?.isRenewal = false }
        guard let wait, wait > 0 else { return .loading }
        guard load.waiters.count < limits.waitersPerKey, waiting.count < limits.waiters, isWithinShare(false)
        else { return .full }
        clients.insert(client)
        let waiter = Waiter(client: client, ticket: ticket ?? makeTicket(), deadline: now + wait * 1_000_000)
        loads[key]?.waiters.append(waiter)
        waiting.insert(waiter.ticket)
        waitersOf[client, default: 0] += 1
        deadlines.add(.waiter(key: key.compacted, ticket: waiter.ticket), at: waiter.deadline)
        return .wait(ticket: waiter.ticket)
    }

    /// A number that no other wait has.
    mutating func makeTicket() -> UInt64 {
        nextTicket += 1
        return nextTicket
    }

    private mutating func grant(
        _ key: ByteBuffer, to client: ClientID, waiters: Deque<Waiter>, asOf: LogPosition, epoch: Epoch, now: BootTime
    ) -> Lease {
        nextLease += 1
        clients.insert(client)
        let lease = Lease(id: nextLease, asOf: asOf, epoch: epoch)
        leasesOf[client, default: 0] += 1
        loads[key] = Load(
            holder: client, lease: lease, deadline: now + limits.leaseNanoseconds, waiters: waiters)
        deadlines.add(.lease(key: key, lease.id), at: now + limits.leaseNanoseconds)
        return lease
    }

    /// Whether this lease may fill this key.
    func isValid(_ lease: LeaseID, key: ByteBuffer, client: ClientID, epoch: Epoch, now: BootTime) -> Lease? {
        guard let load = loads[key], load.lease.id == lease, load.holder == client, now < load.deadline,
            load.lease.epoch == epoch || breaks(.leaseOutlivesEpoch)
        else { return nil }
        return load.lease
    }

    /// Ends a load with a value: returns the waiters, in order.
    mutating func finish(_ key: ByteBuffer) -> Deque<Waiter> {
        guard let load = remove(key) else { return [] }
        for waiter in load.waiters { _ = endWait(waiter.ticket, waiter.client) }
        return load.waiters
    }

    /// Ends a load without a value: the next waiter gets the lease.
    mutating func regrant(
        _ key: ByteBuffer, asOf: LogPosition, epoch: Epoch, now: BootTime
    ) -> (Waiter, Lease)? {
        guard var load = remove(key), let next = load.waiters.popFirst() else { return nil }
        _ = endWait(next.ticket, next.client)
        let lease = grant(key, to: next.client, waiters: load.waiters, asOf: asOf, epoch: epoch, now: now)
        return (next, lease)
    }

    /// Removes a waiter whose time is over.
    mutating func removeWaiter(_ ticket: UInt64, key: ByteBuffer) -> Waiter? {
        guard waiting.contains(ticket), let index = loads[key]?.waiters.firstIndex(where: { $0.ticket == ticket })
        else { return nil }
        if let client = loads[key]?.waiters[index].client { _ = endWait(ticket, client) }
        return loads[key]?.waiters.remove(at: index)
    }

    /// Removes a client's waiters, and returns the keys whose lease it held.
    mutating func removeClient(_ client: ClientID) -> [ByteBuffer] {
        guard clients.remove(client) != nil else { return [] }
        for (key, load) in loads where load.waiters.contains(where: { $0.client == client }) {
            loads[key]?.waiters.removeAll { $0.client == client }
            for waiter in load.waiters where waiter.client == client { _ = endWait(waiter.ticket, client) }
        }
        return keys { $0.holder == client }
    }

    /// The keys of some loads, in the order of their leases.
    func keys(where isIncluded: (Load) -> Bool = { _ in true }) -> [ByteBuffer] {
        loads.filter { isIncluded($0.value) }.sorted { $0.value.lease.id < $1.value.lease.id }.map(\.key)
    }

    mutating func takeDue(_ now: BootTime) -> Event? { deadlines.takeDue(now) }
}
