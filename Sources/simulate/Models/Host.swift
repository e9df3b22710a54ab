import IPC
import IPCWire
import NIOCore

/// One machine: the table and the journal outlive the processes on it.
// Unchecked: everything in a simulation runs on its one thread.
final class Host: @unchecked Sendable {
    let world: World
    let index: Int
    let plan: Plan
    private(set) var table: TagTable
    private var isTableMissing = false
    private(set) var journal: MemoryJournal
    var syncd: SimulatedSyncd?
    var workers: [SimulatedWorker] = []
    /// How its processes reach Redis.
    let network: Network
    /// The journal was or is not usable until then.
    var journalFaultsUntil: UInt64 = 0
    private var starts = 0
    /// Nobody starts syncd.
    var isHeldDown = false

    init(world: World, plan: Plan, index: Int) {
        self.world = world
        self.plan = plan
        self.index = index
        table = .inMemory(epoch: world.random.number(1...1_000_000))
        journal = MemoryJournal(world: world)
        network = Network(world: world)
    }

    /// The runtime directory is gone: the next syncd makes a new one.
    func wipe() {
        isTableMissing = true
        journal.wipe()
        journal = MemoryJournal(world: world)
    }

    /// Whether a connection attempt finds a listener.
    var listener: SimulatedSyncd? { syncd.flatMap { $0.isAlive && $0.isListening ? $0 : nil } }

    /// Starts syncd, unless the lock says that there is one.
    @discardableResult
    func startSyncd(oracle: Oracle, cluster: Cluster?) -> Bool {
        if isHeldDown { return false }
        if let syncd, syncd.isAlive { return false }
        starts += 1
        if isTableMissing {
            table = .inMemory(epoch: world.random.number(1...1_000_000), madeAt: world.now)
            isTableMissing = false
        }
        let syncd = SimulatedSyncd(host: self, number: starts, oracle: oracle, cluster: cluster)
        self.syncd = syncd
        world.after(0, syncd, "syncd starts") { syncd.start() }
        return true
    }
}
