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
    fileprivate(set) var held: [EventQueue.Item] = []

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
        let missed = held
        held = []
        world.after(0, self, "continued") { [self] in continued() }
        for item in missed { world.after(0, self, item.label, item.body) }
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

    fileprivate func hold(_ item: EventQueue.Item) { held.append(item) }

    /// Runs an event now, or keeps it until the process goes on. A dead process loses it.
    func perform(_ item: EventQueue.Item) {
        guard isAlive else { return }
        if isStopped { return hold(item) }
        world.run(self, item.body)
    }
}
