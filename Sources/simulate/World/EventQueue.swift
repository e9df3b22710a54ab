import IPCWire
import HeapModule

/// Future events by time. Events of the same time come in the order of insertion.
struct EventQueue {
    struct Item: Comparable {
        var time: BootTime
        var order: UInt64
        var process: Process?
        var label: StaticString
        /// The connection whose bytes it brings.
        var lane: ObjectIdentifier?
        var body: () -> Void

        /// Whether the process set it for itself.
        var isTimer: Bool {
            ["heartbeat due", "deadline", "timer", "sleep ends", "watch Redis"].contains(label.description)
        }

        /// Whether it is a job of a task, which a separate thread may run.
        var isJob: Bool { label.description == "job" }

        static func < (one: Item, other: Item) -> Bool { (one.time, one.order) < (other.time, other.order) }
        static func == (one: Item, other: Item) -> Bool { one.order == other.order }
    }

    private var heap = Heap<Item>()
    private var added: UInt64 = 0

    var nextTime: BootTime? { heap.min?.time }

    mutating func add(
        _ time: BootTime, _ process: Process?, _ label: StaticString, lane: ObjectIdentifier? = nil,
        _ body: @escaping () -> Void
    ) {
        added += 1
        heap.insert(Item(time: time, order: added, process: process, label: label, lane: lane, body: body))
    }

    mutating func popFirst() -> Item? { heap.popMin() }
}
