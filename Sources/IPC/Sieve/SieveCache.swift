/// A cache with a byte budget and SIEVE eviction (Zhang et al., NSDI '24, https://www.usenix.org/node/294818).
///
/// Entries are in a queue in the order of their insertion, newest first, and each has a *visited* bit that a hit sets.
/// To make room, a hand walks from the oldest to the newest and around again: it clears set bits and evicts the first
/// entry whose bit is clear. A hit moves nothing, so it costs one lookup and one bit. An entry that is read only once
/// is evicted sooner than under LRU.
///
/// The queue is a doubly linked list of indices into one array, with a free list: no allocation per entry. Keys are found
/// in an open-addressed table of such indices with linear probing. A caller that has hashes of its keys gives them, with
/// every call: the same for equal keys, and not to be predicted by whoever chooses keys.
///
/// Everything is inlinable: a generic type of another module is otherwise called through witness tables, which makes
/// a lookup more than twice as slow. Everything is public for the same reason: the compiler does not specialize what is
/// `package`, inlinable or not.
public struct SieveCache<Key: Hashable, Value> {
    @usableFromInline typealias Index = Int32
    @inlinable static var none: Index { -1 }

    @usableFromInline
    struct Node {
        // Both `nil`: the node is on the free list, linked by `older`. Key and value are separate, so that a hit copies
        // the value alone.
        @usableFromInline var key: Key?
        @usableFromInline var value: Value?
        @usableFromInline var hash: Int
        @usableFromInline var bytes: Int
        @usableFromInline var newer: Index
        @usableFromInline var older: Index
        @usableFromInline var isVisited: Bool

        @inlinable
        init(key: Key?, value: Value?, hash: Int, bytes: Int, newer: Index, older: Index, isVisited: Bool) {
            self.key = key
            self.value = value
            self.hash = hash
            self.bytes = bytes
            self.newer = newer
            self.older = older
            self.isVisited = isVisited
        }
    }

    @usableFromInline var nodes: [Node] = []
    /// Each index is in the slot of its hash or, if that was taken, in the next free one. The number of slots is a power
    /// of two, and half of them are empty.
    @usableFromInline var slots: [Index] = [none]
    @usableFromInline var entryCount = 0
    @usableFromInline var newest: Index = none
    @usableFromInline var oldest: Index = none
    @usableFromInline var hand: Index = none
    @usableFromInline var free: Index = none
    @usableFromInline var totalBytes = 0
    @usableFromInline var evictionCount: UInt64 = 0

    /// Maximum cost of all entries together, in the unit of ``insert(_:_:bytes:)``.
    public let byteBudget: Int
    /// Cost of all entries together.
    @inlinable public var bytes: Int { totalBytes }
    /// Number of entries evicted so far.
    @inlinable public var evictions: UInt64 { evictionCount }

    /// An empty cache. A budget of 0 stores nothing.
    @inlinable
    public init(byteBudget: Int) {
        self.byteBudget = max(0, byteBudget)
    }

    /// Number of entries.
    @inlinable public var count: Int { entryCount }

    /// The value of `key`, which counts as a visit.
    @inlinable
    public mutating func value(for key: Key) -> Value? { value(for: key, hash: key.hashValue) }

    /// The same, by a hash of the caller's.
    @inlinable @inline(__always)
    public mutating func value(for key: Key, hash: Int) -> Value? {
        guard let place = place(of: key, hash) else { return nil }
        // Repeated hits write nothing.
        if !nodes[place].isVisited { nodes[place].isVisited = true }
        return nodes[place].value
    }

    /// The value of `key`, without marking it as visited.
    @inlinable
    public func peek(_ key: Key) -> Value? { peek(key, hash: key.hashValue) }

    /// The same, by a hash of the caller's.
    @inlinable
    public func peek(_ key: Key, hash: Int) -> Value? { place(of: key, hash).flatMap { nodes[$0].value } }

    /// Stores a value that costs `bytes`, in place of any that `key` had, and evicts entries until it fits. A value
    /// that is larger than the whole budget is not stored.
    ///
    /// - Returns: number of entries evicted for it.
    @discardableResult
    @inlinable
    public mutating func insert(_ key: Key, _ value: Value, bytes cost: Int) -> Int {
        insert(key, value, bytes: cost, hash: key.hashValue)
    }

    /// The same, by a hash of the caller's.
    @discardableResult
    @inlinable
    public mutating func insert(_ key: Key, _ value: Value, bytes cost: Int, hash: Int) -> Int {
        let cost = max(0, cost)
        remove(key, hash: hash)
        guard cost <= byteBudget else { return 0 }
        var evicted = 0
        while bytes > byteBudget - cost, evictOne() { evicted += 1 }
        let place = takeNode(
            Node(key: key, value: value, hash: hash, bytes: cost, newer: Self.none, older: newest, isVisited: false))
        if newest == Self.none { oldest = place } else { nodes[Int(newest)].newer = place }
        newest = place
        entryCount += 1
        enter(place)
        totalBytes += cost
        return evicted
    }

    /// Removes a value and returns it; `nil` if there is none.
    @discardableResult
    @inlinable
    public mutating func remove(_ key: Key) -> Value? { remove(key, hash: key.hashValue) }

    /// The same, by a hash of the caller's.
    @discardableResult
    @inlinable
    public mutating func remove(_ key: Key, hash: Int) -> Value? {
        place(of: key, hash).flatMap { unlink(Index($0)) }
    }

    /// Removes all entries and frees the memory. The number of evictions stays.
    @inlinable
    public mutating func removeAll() {
        nodes = []
        slots = [Self.none]
        entryCount = 0
        newest = Self.none
        oldest = Self.none
        hand = Self.none
        free = Self.none
        totalBytes = 0
    }

    /// Visits at most `limit` places, beginning with number `start`, and removes every entry that `isUnwanted`. A large
    /// cache can be cleaned in steps, between which other callers may use it.
    ///
    /// - Returns: the start of the next step, `nil` at the end.
    @inlinable
    public mutating func sweep(from start: Int, limit: Int, where isUnwanted: (Key, Value) -> Bool) -> Int? {
        guard start >= 0, start < nodes.count else { return nil }
        let end = start + min(limit, nodes.count - start)
        for place in start..<end {
            guard let key = nodes[place].key, let value = nodes[place].value, isUnwanted(key, value) else { continue }
            unlink(Index(place))
        }
        return end < nodes.count ? end : nil
    }

    /// Moves the hand to the next entry without a visit and removes it. False if there is no entry.
    @inlinable
    mutating func evictOne() -> Bool {
        var place = hand == Self.none ? oldest : hand
        guard place != Self.none else { return false }
        // Ends after one round at the latest: by then the hand itself has cleared every bit.
        while nodes[Int(place)].isVisited {
            nodes[Int(place)].isVisited = false
            let newer = nodes[Int(place)].newer
            place = newer == Self.none ? oldest : newer
        }
        hand = place
        unlink(place)
        evictionCount += 1
        return true
    }

    /// The place of the node of a key.
    @inlinable @inline(__always)
    func place(of key: Key, _ hash: Int) -> Int? {
        var slot = hash & (slots.count - 1)
        while slots[slot] != Self.none {
            let place = Int(slots[slot])
            if nodes[place].hash == hash, nodes[place].key == key { return place }
            slot = (slot + 1) & (slots.count - 1)
        }
        return nil
    }

    /// Makes a node findable, and the table larger if more than half of it were taken.
    @inlinable
    mutating func enter(_ place: Index) {
        if 2 * entryCount > slots.count {
            slots = [Index](repeating: Self.none, count: 2 * slots.count)
            for other in nodes.indices where nodes[other].key != nil && other != place { enter(Index(other)) }
        }
        var slot = nodes[Int(place)].hash & (slots.count - 1)
        while slots[slot] != Self.none { slot = (slot + 1) & (slots.count - 1) }
        slots[slot] = place
    }

    /// Empties the slot of a node. Others that were pushed past it move into the gap, where a search finds them.
    @inlinable
    mutating func leave(_ place: Index) {
        let mask = slots.count - 1
        var gap = nodes[Int(place)].hash & mask
        while slots[gap] != place { gap = (gap + 1) & mask }
        var slot = (gap + 1) & mask
        while slots[slot] != Self.none {
            let distance = (slot - nodes[Int(slots[slot])].hash) & mask
            if distance >= (slot - gap) & mask {
                slots[gap] = slots[slot]
                gap = slot
            }
            slot = (slot + 1) & mask
        }
        slots[gap] = Self.none
    }

    /// Removes a node from the table and from the queue, moving the hand on if it points there, and frees it.
    @discardableResult
    @inlinable
    mutating func unlink(_ place: Index) -> Value? {
        leave(place)
        entryCount -= 1
        let node = nodes[Int(place)]
        if hand == place { hand = node.newer }
        if node.newer == Self.none { newest = node.older } else { nodes[Int(node.newer)].older = node.older }
        if node.older == Self.none { oldest = node.newer } else { nodes[Int(node.older)].newer = node.newer }
        totalBytes -= node.bytes
        nodes[Int(place)] = Node(
            key: nil, value: nil, hash: 0, bytes: 0, newer: Self.none, older: free, isVisited: false)
        free = place
        return node.value
    }

    @inlinable
    mutating func takeNode(_ node: Node) -> Index {
        guard free != Self.none else {
            nodes.append(node)
            return Index(nodes.count - 1)
        }
        let place = free
        free = nodes[Int(place)].older
        nodes[Int(place)] = node
        return place
    }
}

extension SieveCache: Sendable where Key: Sendable, Value: Sendable {}
extension SieveCache.Node: Sendable where Key: Sendable, Value: Sendable {}
