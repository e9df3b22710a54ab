/// What is to happen, by time. A binary heap; what has the same time comes in the order in which it was added.
struct EventQueue {
    struct Item {
        var time: UInt64
        var order: UInt64
        var process: Process?
        var label: StaticString
        /// The connection whose bytes it brings.
        var lane: ObjectIdentifier?
        var body: () -> Void

        /// Set by a process for itself.
        var isTimer: Bool {
            ["beat due", "deadline", "timer", "sleep ends", "watch Redis"].contains(label.description)
        }

        /// A task's, which a thread of its own may run.
        var isJob: Bool { label.description == "job" }

        func precedes(_ other: Item) -> Bool { (time, order) < (other.time, other.order) }
    }

    private var heap: [Item] = []
    private var added: UInt64 = 0

    var isEmpty: Bool { heap.isEmpty }
    var nextTime: UInt64? { heap.first?.time }

    mutating func add(
        _ time: UInt64, _ process: Process?, _ label: StaticString, lane: ObjectIdentifier? = nil,
        _ body: @escaping () -> Void
    ) {
        added += 1
        heap.append(Item(time: time, order: added, process: process, label: label, lane: lane, body: body))
        var child = heap.count - 1
        while child > 0, heap[child].precedes(heap[(child - 1) / 2]) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func popFirst() -> Item? {
        guard let first = heap.first else { return nil }
        let last = heap.removeLast()
        guard !heap.isEmpty else { return first }
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
        return first
    }
}
