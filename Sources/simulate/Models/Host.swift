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
    private(set) var journal: MemoryJournal
    /// Directories that were the journal and have other names now, while the syncd lives that knows them.
    private(set) var formerJournals: [MemoryJournal] = []
    var syncd: SimulatedSyncd?
    /// Those whose runtime directory was removed and that have not noticed yet, when another started.
    private(set) var formerSyncds: [SimulatedSyncd] = []
    var workers: [SimulatedWorker] = []
    /// How its processes reach Redis.
    let network: Network
    /// The journal was or is not usable until then.
    var journalFaultsUntil: UInt64 = 0
    private var starts = 0
    /// Nobody starts syncd.
    var isHeldDown = false

    init(world: World, plan: Plan, index: Int, oracle: Oracle) {
        self.world = world
        self.plan = plan
        self.index = index
        self.oracle = oracle
        table = .inMemory(epoch: world.random.number(1...1_000_000))
        journal = MemoryJournal(world: world)
        network = Network(world: world)
        watch(journal)
    }

    /// The runtime directory is gone: the next syncd makes a new one.
    func wipe() {
        isTableMissing = true
        // Without Redis, who was told of something has no cache that is older: it went with syncd.
        removeJournal(isOwedLost: oracle.cluster != nil)
    }

    // MARK: The journal

    /// The directory is deleted. Whoever needs one makes it.
    func removeJournal(isOwedLost: Bool = true) {
        journal.wipe()
        for journal in formerJournals { journal.wipe() }
        formerJournals = []
        oracle.lostJournal(of: index, isOwedLost: isOwedLost)
    }

    /// The directory is deleted, or renamed, and another one is in its place.
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

    /// All files in it are deleted.
    func emptyJournal() {
        journal.empty()
        oracle.lostJournal(of: index)
    }

    /// For syncd: the directory at the path, made where there is none.
    func openJournal() -> MemoryJournal {
        if journal.isDeleted { makeJournal() }
        return journal
    }

    /// What is written down in this journal now, if it can be and will be read.
    func record(in journal: MemoryJournal?) -> JournalRecord? {
        guard let journal, journalFaultsUntil < world.now else { return nil }
        let record = JournalRecord(journal: journal, generation: journal.generation)
        return isRead(record) ? record : nil
    }

    /// It is still there, and will be read.
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
            // Its lock is gone with its table.
            formerSyncds.append(syncd)
        }
        starts += 1
        if isTableMissing {
            table = .inMemory(epoch: world.random.number(1...1_000_000), madeAt: world.now)
            isTableMissing = false
        }
        if !formerJournals.isEmpty {
            // Nobody tells it of them.
            formerJournals = []
            oracle.lostJournal(of: index)
        }
        let syncd = SimulatedSyncd(host: self, number: starts, oracle: oracle, cluster: cluster)
        self.syncd = syncd
        world.after(0, syncd, "syncd starts") { syncd.start() }
        return true
    }
}
