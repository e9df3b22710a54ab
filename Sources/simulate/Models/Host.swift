import IPC
import IPCWire
import NIOCore

/// One machine: the table and the journal outlive the processes on it.
// Unchecked: everything in a simulation runs on its one thread.
final class Host: @unchecked Sendable {
    let world: World
    let index: Int
    let plan: Plan
    private let oracle: Oracle
    private(set) var table: TagTable
    private(set) var isTableMissing = false
    /// The values that all processes share; `nil`: this world has none.
    private(set) var arena: ValueArena?
    private(set) var journal: MemoryJournal
    /// Directories that were the journal and have other names now, while a syncd lives that knows them.
    private(set) var formerJournals: [MemoryJournal] = []
    var syncd: SimulatedSyncd?
    /// Daemons whose runtime directory was removed without their noticing before another one started.
    private(set) var formerSyncds: [SimulatedSyncd] = []
    var workers: [SimulatedWorker] = []
    /// The token of the change feed beside the table.
    var feedToken: ByteBuffer?
    /// The network between its processes and Redis.
    let network = Network()
    /// The time until which the journal was or is unusable.
    var journalFaultsUntil: BootTime = 0
    private var starts = 0
    /// True while syncd is not restarted.
    var isHeldDown = false

    init(world: World, plan: Plan, index: Int, oracle: Oracle) {
        self.world = world
        self.plan = plan
        self.index = index
        self.oracle = oracle
        table = .inMemory(epoch: Epoch(world.random.number(1...1_000_000)))
        journal = MemoryJournal(world: world)
        arena = makeArena()
        watch(journal)
    }

    private func makeArena() -> ValueArena? {
        guard plan.arenaBytes > 0 else { return nil }
        return .inMemory(shape: ValueArenaLayout.Shape(indexWords: 512, ringBytes: plan.arenaBytes))
    }

    /// Whether the path of the arena names this one.
    func ownsArena(_ arena: ValueArena) -> Bool { self.arena === arena && !isTableMissing }

    /// The runtime directory is deleted: the next syncd makes a new one.
    func wipe() {
        isTableMissing = true
        feedToken = nil
        if oracle.cluster != nil { oracle.lostTable(of: self) }
        // Without Redis, no cache on this host is older than an acknowledged write: the caches were lost with syncd.
        removeJournal(isPendingLost: oracle.cluster != nil)
    }

    // MARK: The journal

    /// Deletes the directory. A process that needs one creates it.
    func removeJournal(isPendingLost: Bool = true) {
        journal.wipe()
        for journal in formerJournals { journal.wipe() }
        formerJournals = []
        oracle.lostJournal(of: self, isPendingLost: isPendingLost)
    }

    /// Deletes or renames the directory, and puts another one in its place.
    func replaceJournal(isMoved: Bool) {
        if isMoved, let syncd, syncd.isAlive, syncd.isReading(journal) {
            journal.isMoved = true
            formerJournals.append(journal)
        } else {
            removeJournal()
        }
        makeJournal()
    }

    private func makeJournal() {
        journal = MemoryJournal(world: world)
        watch(journal)
    }

    private func watch(_ journal: MemoryJournal) {
        journal.notRemoved = { [oracle] name, isInherited in
            oracle.figures.add("goal: journal file not deleted")
            if isInherited { oracle.figures.add("goal: undeletable file found by the next syncd") }
            if name.hasSuffix("marker") { oracle.figures.add("goal: marker obeyed that can't be deleted") }
        }
    }

    /// Deletes all files in it.
    func emptyJournal() {
        journal.empty()
        oracle.lostJournal(of: self)
    }

    /// The directory at the path for syncd, created if it is missing.
    func openJournal() -> MemoryJournal {
        if journal.isDeleted { makeJournal() }
        return journal
    }

    /// Whether files can be made in the journal.
    var canRecord: Bool { journalFaultsUntil < world.now }

    /// The present record in this journal, if it can be written and will be read.
    func record(in journal: MemoryJournal?) -> JournalRecord? {
        guard let journal, canRecord else { return nil }
        let record = JournalRecord(journal: journal, generation: journal.generation)
        return isRead(record) ? record : nil
    }

    /// Whether the record still exists and will be read.
    func isRead(_ record: JournalRecord?) -> Bool {
        guard let record, !record.journal.isDeleted, record.generation == record.journal.generation else {
            return false
        }
        return record.journal === journal || formerJournals.contains { $0 === record.journal }
    }

    // MARK: syncd

    /// Whether the path of the table names this one.
    func ownsTable(_ table: TagTable) -> Bool { self.table === table && !isTableMissing }

    /// Whether a connection attempt finds a listener.
    var listener: SimulatedSyncd? { syncd.flatMap { $0.isAlive && $0.isListening ? $0 : nil } }

    /// Starts syncd, unless the lock says that there is one.
    @discardableResult
    func startSyncd(cluster: Cluster?) -> Bool {
        if isHeldDown { return false }
        if let syncd, syncd.isAlive {
            if !isTableMissing { return false }
            // The lock of the earlier syncd was deleted with its table.
            formerSyncds.append(syncd)
        }
        starts += 1
        if isTableMissing {
            table = .inMemory(epoch: Epoch(world.random.number(1...1_000_000)), madeAt: world.now)
            if cluster == nil { oracle.madeTable() }
            arena = makeArena()
            isTableMissing = false
        }
        if !formerJournals.isEmpty {
            // A new syncd does not know them.
            formerJournals = []
            oracle.lostJournal(of: self)
        }
        let syncd = SimulatedSyncd(host: self, number: starts, oracle: oracle, cluster: cluster)
        self.syncd = syncd
        world.after(0, syncd, "syncd starts") { syncd.start() }
        return true
    }
}
