import HeapModule
import IPCWire

/// Items with due times. A settled item stays in the heap until it is the earliest, which is cheaper than to find it.
struct Deadlines<Item: Sendable>: Sendable {
    private struct Entry: Sendable, Comparable {
        var time: BootTime
        /// Items of one time stay in the order of insertion: in the simulator, one seed must give one trace.
        var order: UInt64
        var item: Item

        static func < (one: Entry, other: Entry) -> Bool { (one.time, one.order) < (other.time, other.order) }
        static func == (one: Entry, other: Entry) -> Bool { one.order == other.order }
    }

    private var heap = Heap<Entry>()
    private var added: UInt64 = 0

    /// The earliest time of an item that is still `isOpen`. Settled items before it are removed: most requests are
    /// answered in order and long before their deadline, and must not cause a wakeup.
    mutating func next(where isOpen: (Item) -> Bool) -> BootTime? {
        while let first = heap.min {
            if isOpen(first.item) { return first.time }
            heap.removeMin()
        }
        return nil
    }

    var count: Int { heap.count }

    /// Removes the items that are settled.
    mutating func removeAll(where isSettled: (Item) -> Bool) {
        heap = Heap(heap.unordered.filter { !isSettled($0.item) })
    }

    mutating func add(_ item: Item, at time: BootTime) {
        added += 1
        heap.insert(Entry(time: time, order: added, item: item))
    }

    /// Takes the earliest item that is due at `now`.
    mutating func takeDue(_ now: BootTime) -> Item? {
        guard let first = heap.min, first.time <= now else { return nil }
        return heap.removeMin().item
    }
}

/// The earlier of two optional times. Called at the end of every turn.
func earlier(_ one: BootTime?, _ other: BootTime?) -> BootTime? {
    guard let one, let other else { return one ?? other }
    return min(one, other)
}
