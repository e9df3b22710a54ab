import IPCTesting
import IPCWire

/// One simulated world: its clock, its random numbers, all future events, and the record of past ones.
// Unchecked: everything in a simulation runs on its one thread.
final class World: @unchecked Sendable {
    private(set) var now: BootTime = 1_000_000_000_000
    var random: SeededRandom
    private var queue = EventQueue()
    /// The process whose code runs at this moment.
    private(set) var current: Process?
    private(set) var steps = 0
    private var isNested = false
    let record: Record
    /// No further faults are caused.
    var areFaultsOver = false
    /// Called after every step.
    var afterStep: () -> Void = {}
    /// Random delay of a job, in ns: scheduling is not free.
    var jobDelay: ClosedRange<UInt64> = 0...20_000

    init(seed: UInt64, isTracing: Bool) {
        random = SeededRandom(seed: seed)
        record = Record(isPrinting: isTracing)
    }

    // MARK: Time

    func at(
        _ time: BootTime, _ process: Process?, _ label: StaticString, lane: ObjectIdentifier? = nil,
        _ body: @escaping () -> Void
    ) {
        queue.add(max(time, now), process, label, lane: lane, body)
    }

    func after(_ delay: UInt64, _ process: Process?, _ label: StaticString, _ body: @escaping () -> Void) {
        queue.add(now + delay, process, label, body)
    }

    /// A job of Swift's concurrency runtime, made by the process that runs now.
    func enqueue(_ job: UnownedJob) {
        after(random.number(jobDelay), current, "job") { JobHook.run(job) }
    }

    // MARK: Running

    /// Runs something as a process.
    func run(_ process: Process?, _ body: () -> Void) {
        let outer = current
        current = process
        body()
        process?.turnEnded()
        current = outer
    }

    /// One event. Returns whether there was any.
    @discardableResult
    func step() -> Bool {
        guard let item = queue.popFirst() else { return false }
        now = item.time
        steps += 1
        record.event(item.time, item.label, item.process)
        if let process = item.process {
            process.perform(item)
        } else {
            run(nil, item.body)
        }
        afterStep()
        return true
    }

    /// Runs all events up to a time.
    func run(until end: BootTime, while isGoingOn: () -> Bool = { true }) {
        while let next = queue.nextTime, next <= end, isGoingOn() { step() }
        if isGoingOn() { now = max(now, end) }
    }

    /// Stops the running process in the middle of its code for some time; all others continue.
    func pause(_ process: Process, for duration: UInt64) {
        guard !isNested, process.isAlive, !process.isStopped, current === process else { return }
        isNested = true
        process.isOnStack = true
        process.stop()
        let outer = current
        current = nil
        run(until: now + duration)
        current = outer
        process.isOnStack = false
        process.proceed()
        isNested = false
    }

    func trace(_ what: StaticString, _ process: Process? = nil, _ a: UInt64 = 0, _ b: UInt64 = 0, key: Int = -1) {
        record.note(now, what, process, a, b, key: key)
    }
}
