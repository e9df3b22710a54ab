import IPCWire

/// A process that can be stopped (SIGSTOP) and killed: a worker, syncd, a Redis server. Events of a stopped process
/// wait for it, those of a dead one are lost.
// Unchecked: everything in a simulation runs on its one thread.
class Process: @unchecked Sendable {
    let world: World
    let name: String
    private(set) var isAlive = true
    private(set) var diedAt = BootTime.max
    private(set) var isStopped = false
    /// Its code is on the stack, below the events that run now: it must not be killed or continued from outside.
    var isOnStack = false
    /// Number of stops and kills: measurements across one are invalid.
    private(set) var interruptions = 0
    private var held: [EventQueue.Item] = []
    private var isCatchingUp = false
    private var areTimersLate = false
    private var areJobsFirst = false

    init(world: World, name: String) {
        self.world = world
        self.name = name
    }

    /// Called after an event of this process has run.
    func turnEnded() {}

    /// Called when the process continues after a stop, before missed events.
    func continued() {}

    /// Called when the process has died. Its sockets close.
    func died() {}

    /// Called when the process is stopped, continues, or dies.
    func changed() {}

    func stop() {
        guard isAlive, !isStopped else { return }
        isStopped = true
        interruptions += 1
        world.trace("stopped", self)
        changed()
    }

    func proceed() {
        guard isAlive, isStopped else { return }
        isStopped = false
        interruptions += 1
        world.trace("continued", self)
        changed()
        let item = EventQueue.Item(time: world.now, order: 0, process: self, label: "continued") { [self] in continued()
        }
        // An event loop that wakes up may serve its sockets first, however overdue its timers are.
        areTimersLate = world.random.oneIn(2)
        // Tasks have separate threads: they may run before the process reads any socket.
        areJobsFirst = world.random.oneIn(3)
        if areTimersLate {
            held = held.filter { !$0.isTimer && $0.lane == nil } + heldByConnection() + held.filter(\.isTimer)
        }
        held.insert(item, at: 0)
        catchUp()
    }

    /// Events of its sockets, in order for each of them; the order of the sockets is random.
    private func heldByConnection() -> [EventQueue.Item] {
        var lanes: [ObjectIdentifier] = []
        for lane in held.compactMap(\.lane) where !lanes.contains(lane) { lanes.append(lane) }
        return lanes.map { (lane: $0, order: world.random.next()) }.sorted { $0.order < $1.order }
            .flatMap { lane, _ in held.filter { $0.lane == lane } }
    }

    /// Missed events come before new ones, one at a time.
    private func catchUp() {
        guard !isCatchingUp, !held.isEmpty else { return }
        isCatchingUp = true
        world.after(0, nil, "catch up") { [self] in
            isCatchingUp = false
            guard isAlive, !isStopped, !held.isEmpty else { return }
            let item = held.removeFirst()
            world.run(self, item.body)
            catchUp()
        }
    }

    func kill() {
        guard isAlive else { return }
        isAlive = false
        diedAt = world.now
        isStopped = false
        interruptions += 1
        held = []
        world.trace("killed", self)
        changed()
        died()
    }

    /// Runs an event now, or keeps it until the process continues. A dead process loses it.
    func perform(_ item: EventQueue.Item) {
        guard isAlive else { return }
        guard isStopped || !held.isEmpty else { return world.run(self, item.body) }
        if !isStopped, areJobsFirst, item.isJob {
            held.insert(item, at: held.firstIndex { !$0.isJob } ?? 0)
        } else if !isStopped, areTimersLate, !item.isTimer, let timer = held.firstIndex(where: \.isTimer) {
            held.insert(item, at: timer)
        } else {
            held.append(item)
        }
    }
}
