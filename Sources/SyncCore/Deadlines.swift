import HeapModule

/// What is due at some time. What is settled stays in the heap until it is the earliest, which is cheaper than to find it.
struct Deadlines<Item: Sendable>: Sendable {
    private struct Entry: Sendable, Comparable {
        var time: UInt64
        /// Keeps items of one time in the order in which they came: the simulator needs one seed to give one trace.
        var order: UInt64
        var item: Item

        static func < (one: Entry, other: Entry) -> Bool { (one.time, one.order) < (other.time, other.order) }
        static func == (one: Entry, other: Entry) -> Bool { one.order == other.order }
    }

    private var heap = Heap<Entry>()
    private var added: UInt64 = 0

    /// The earliest time at which something is due that is still `isOpen`. What is settled and comes before that is
    /// forgotten: most of what is waited for comes in order and long before its time, and must not wake anybody up.
    mutating func next(where isOpen: (Item) -> Bool) -> UInt64? {
        while let first = heap.min {
            if isOpen(first.item) { return first.time }
            heap.removeMin()
        }
        return nil
    }

    var count: Int { heap.count }

    /// Forgets what `isSettled`.
    mutating func removeAll(where isSettled: (Item) -> Bool) {
        heap = Heap(heap.unordered.filter { !isSettled($0.item) })
    }

    mutating func add(_ item: Item, at time: UInt64) {
        added += 1
        heap.insert(Entry(time: time, order: added, item: item))
    }

    /// Takes the earliest item that is due at `now`.
    mutating func takeDue(_ now: UInt64) -> Item? {
        guard let first = heap.min, first.time <= now else { return nil }
        return heap.removeMin().item
    }
}

/// The earlier of two times, either of which there may not be. Asked for at the end of every turn.
func earlier(_ one: UInt64?, _ other: UInt64?) -> UInt64? {
    guard let one, let other else { return one ?? other }
    return min(one, other)
}
