/// Something that lives, can be stopped (SIGSTOP) and killed: a worker, syncd, a Redis server. Events of a stopped
/// process wait for it, those of a dead one are lost.
// Unchecked: everything in a simulation runs on its one thread.
class Process: @unchecked Sendable {
    let world: World
    let name: String
    private(set) var isAlive = true
    private(set) var isStopped = false
    /// Its code is on the stack, below the events that run now: it must not be killed or continued from outside.
    var isOnStack = false
    /// Goes up when it is stopped or killed: what was measured across that says nothing.
    private(set) var interruptions = 0
    private var held: [EventQueue.Item] = []
    private var isCatchingUp = false
    private var areTimersLate = false
    private var areJobsFirst = false

    init(world: World, name: String) {
        self.world = world
        self.name = name
    }

    /// Something of this process has just run.
    func turnEnded() {}

    /// It goes on after a stop. Called before what it missed.
    func continued() {}

    /// It has died. Its sockets close.
    func died() {}

    /// It is stopped, continues, or dies.
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
        // An event loop that wakes up may look at its sockets first, however long its timers are overdue.
        areTimersLate = world.random.oneIn(2)
        // Its tasks have threads of their own: they may run before it looks at any socket.
        areJobsFirst = world.random.oneIn(3)
        if areTimersLate {
            held = held.filter { !$0.isTimer && $0.lane == nil } + heldByConnection() + held.filter(\.isTimer)
        }
        held.insert(item, at: 0)
        catchUp()
    }

    /// What its sockets bring, in order for each of them; which of them comes first is chance.
    private func heldByConnection() -> [EventQueue.Item] {
        var lanes: [ObjectIdentifier] = []
        for lane in held.compactMap(\.lane) where !lanes.contains(lane) { lanes.append(lane) }
        return lanes.map { (lane: $0, order: world.random.next()) }.sorted { $0.order < $1.order }
            .flatMap { lane, _ in held.filter { $0.lane == lane } }
    }

    /// What it missed comes before what comes now, one at a time.
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
        isStopped = false
        interruptions += 1
        held = []
        world.trace("killed", self)
        changed()
        died()
    }

    /// Runs an event now, or keeps it until the process goes on. A dead process loses it.
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
