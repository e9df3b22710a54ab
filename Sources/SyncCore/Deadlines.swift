/// What is due at some time. A binary heap; what is settled stays in it until it is the earliest, which is cheaper than
/// to find it.
struct Deadlines<Item: Sendable>: Sendable {
    private struct Entry: Sendable {
        var time: UInt64
        /// Keeps items of one time in the order in which they came: the simulator needs one seed to give one trace.
        var order: UInt64
        var item: Item

        func precedes(_ other: Entry) -> Bool { (time, order) < (other.time, other.order) }
    }

    private var heap: [Entry] = []
    private var added: UInt64 = 0

    /// The earliest time at which something is due that is still `isOpen`. What is settled and comes before that is
    /// forgotten: most of what is waited for comes in order and long before its time, and must not wake anybody up.
    mutating func next(where isOpen: (Item) -> Bool) -> UInt64? {
        while let first = heap.first {
            if isOpen(first.item) { return first.time }
            removeFirst()
        }
        return nil
    }

    var count: Int { heap.count }

    /// Forgets what `isSettled`.
    mutating func removeAll(where isSettled: (Item) -> Bool) {
        let open = heap.filter { !isSettled($0.item) }.sorted { $0.precedes($1) }
        // What is sorted is a heap.
        heap = open
    }

    mutating func add(_ item: Item, at time: UInt64) {
        added += 1
        heap.append(Entry(time: time, order: added, item: item))
        var child = heap.count - 1
        while child > 0, heap[child].precedes(heap[(child - 1) / 2]) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    /// Takes the earliest item that is due at `now`.
    mutating func takeDue(_ now: UInt64) -> Item? {
        guard let first = heap.first, first.time <= now else { return nil }
        removeFirst()
        return first.item
    }

    private mutating func removeFirst() {
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            var parent = 0
            while true {
                var least = parent
                for child in [2 * parent + 1, 2 * parent + 2]
                where child < heap.count && heap[child].precedes(heap[least]) { least = child }
                if least == parent { break }
                heap.swapAt(parent, least)
                parent = least
            }
        }
    }
}

/// The earlier of two times, either of which there may not be. Asked for at the end of every turn.
func earlier(_ one: UInt64?, _ other: UInt64?) -> UInt64? {
    guard let one, let other else { return one ?? other }
    return min(one, other)
}
