import IPCTesting
import SyncCore

/// The properties of one seed: sizes, weights, limits. Drawn per seed, so that some seeds are calm, some switch whole
/// classes of faults off, and some do one thing all the time.
struct Plan {
    var hosts = 1
    var workersPerHost = 1
    var keys = 2
    var isEmbedded = false
    var limits = Limits()
    var concurrentLoads = 64
    var waitMilliseconds: UInt64 = 1000
    var ttlMilliseconds: UInt64 = 60_000
    /// Workers use the additional features of docs/cache.md.
    var hasCacheFeatures = false
    /// Some workers may not map the table.
    var hasUnreadableTables = false
    /// Some workers want no pushes.
    var hasQuietWorkers = false
    /// Workers follow the changes of the database, and some programs write without an invalidation.
    var hasFeed = false
    /// A client per host that has no table.
    var hasPlainClients = false

    // The database.
    var slowest: UInt64 = 2_500_000_000
    var slowLoads = 5
    var slowWrites = 5
    var failingLoads = 2
    var failingWrites = 4
    /// Time for which the server keeps a transaction whose client is gone: stands for 90 s of a real one.
    var transactionLifetime: UInt64 = 4_000_000_000

    // Sockets and Redis.
    var socketDelay: ClosedRange<UInt64> = 5_000...100_000
    var isSlicing = false
    /// Bytes of the ring of values that all processes of a host share; 0: there is none. Small, so that it comes round
    /// often.
    var arenaBytes = 4096
    /// Size of a socket's buffer in bytes.
    var kernelBytes = 4096
    var redisDelay: ClosedRange<UInt64> = 50_000...1_000_000
    var lostMessages = 0
    var hidesIdentity = false
    var replicationLag: UInt64 = 500_000_000

    // Processes. Once in N times; 0: never.
    var pauses = 0
    var turnInterruptions = 0
    var longestStop: UInt64 = 3_000_000_000
    var longestHang: UInt64 = 20_000_000_000

    /// The mean time between two actions, in ns.
    var pace: UInt64 = 10_000_000
    var weights: [Action: Int] = [:]

    /// The actions of the driver.
    enum Action: String, CaseIterable {
        case read, burst, write, invalidate, lateRead, scenario, wakeRace, lateCut, rewrittenLog, missedMuch,
            trimmedGap, lostAnswer, lostTail, lostLog, newTable, longPass, attaching, lateOrphan, slowPages, splitLog
        case idleRead, equalWrites, lateTransaction, hungWriter, replacedJournal, doubtWithoutJournal, syncdStarts
        case undeletableMarker, readPair, writeBoth
        case killWorker, stopWorker, hangWorker, restartWorker, cutDatabase, rollBack
        case killSyncd, stopSyncd, restartSyncd, duplicateSyncd, wipeDirectory, freezeHost
        case cut, cutRequests, cutAnswers, dropCommands, dropSubscription
        case stopRedis, restartRedis, loseRedis, failOver, splitEngine
        case flushAll, deleteKey, damageKey, trim, deleteEntry, goBack, evictValues, refuseWrites, refuseAll
        case writeDirectly, forgetChanges
        case fillJournal, closeJournal, removeJournal, replaceJournal, moveJournal, emptyJournal, keepFiles, keepFile

        /// The class that a seed may switch off.
        var group: Int {
            switch self {
            case .read, .burst, .write, .invalidate, .lateRead, .scenario, .wakeRace, .lateCut, .rewrittenLog,
                .missedMuch, .trimmedGap, .lostAnswer, .lostTail, .lostLog, .newTable, .longPass, .attaching,
                .lateOrphan, .slowPages, .splitLog, .idleRead, .equalWrites, .lateTransaction, .hungWriter,
                .replacedJournal,
                .doubtWithoutJournal, .syncdStarts, .undeletableMarker, .readPair, .writeBoth:
                0
            case .killWorker, .stopWorker, .hangWorker, .restartWorker, .cutDatabase, .rollBack: 1
            case .killSyncd, .stopSyncd, .restartSyncd, .duplicateSyncd, .wipeDirectory, .freezeHost: 2
            case .cut, .cutRequests, .cutAnswers, .dropCommands, .dropSubscription: 3
            case .stopRedis, .restartRedis, .loseRedis, .failOver, .splitEngine: 4
            case .flushAll, .deleteKey, .damageKey, .trim, .deleteEntry, .goBack, .evictValues, .refuseWrites,
                .refuseAll:
                5
            case .fillJournal, .closeJournal, .removeJournal, .replaceJournal, .moveJournal, .emptyJournal, .keepFiles,
                .keepFile:
                6
            case .writeDirectly, .forgetChanges: 7
            }
        }

        var weight: Int {
            switch self {
            case .read: 200
            case .burst, .readPair, .writeBoth: 20
            case .write: 60
            case .writeDirectly: 30
            case .forgetChanges: 2
            case .invalidate: 15
            case .restartWorker, .restartSyncd: 30
            case .killWorker, .killSyncd, .stopWorker, .stopSyncd: 6
            case .lateRead: 4
            case .scenario: 30
            case .wakeRace: 15
            case .missedMuch, .trimmedGap, .lostTail, .lostLog, .newTable, .longPass, .attaching, .lateOrphan,
                .slowPages, .splitLog, .idleRead, .lateTransaction, .hungWriter, .replacedJournal, .doubtWithoutJournal:
                4
            case .equalWrites: 12
            case .syncdStarts: 6
            case .undeletableMarker: 20
            case .hangWorker, .cutDatabase, .freezeHost, .rollBack: 2
            case .removeJournal, .replaceJournal, .moveJournal, .emptyJournal: 1
            case .keepFiles, .keepFile: 4
            case .lostAnswer: 15
            case .lateCut: 8
            case .rewrittenLog: 30
            case .wipeDirectory: 1
            case .duplicateSyncd, .damageKey, .goBack: 2
            case .fillJournal, .closeJournal, .flushAll, .deleteKey, .loseRedis: 2
            case .cut, .cutRequests, .cutAnswers, .dropCommands, .dropSubscription: 4
            case .deleteEntry, .stopRedis, .restartRedis, .failOver, .splitEngine, .trim, .evictValues, .refuseWrites,
                .refuseAll:
                3
            }
        }
    }

    init(seed: UInt64) {
        var random = SeededRandom(seed: seed ^ 0x5eed)
        // The same order as the real times, but shorter, to keep worlds short.
        limits.orphanNanoseconds = 2_000_000_000
        limits.landingNanoseconds = transactionLifetime + 1_200_000_000
        limits.deletionNanoseconds = 1_500_000_000
        hosts = [1, 1, 1, 2, 2, 3][random.below(6)]
        workersPerHost = 1 + random.below(3)
        keys = 1 + random.below(4)
        isEmbedded = hosts == 1 && random.percent(60)
        if random.oneIn(3) { limits.leaseNanoseconds = 2_000_000_000 }
        if random.oneIn(3) {
            kernelBytes = 512
            limits.comfortableBytes = 256
            limits.waitingPushBytes = 512
            limits.unsentBytes = 800
            limits.requestsInFlight = 8  // As with the real limits, their replies fit into the output.
        }
        if random.oneIn(4) { limits.pending = 2 }
        if random.oneIn(4) { limits.entriesPerPage = 2 }
        if random.oneIn(8) { limits.pendingAppends = 3 }
        if random.oneIn(6) { concurrentLoads = 1 }
        if random.oneIn(4) { waitMilliseconds = random.oneIn(2) ? 0 : 100 }
        if random.oneIn(4) { ttlMilliseconds = 500 }
        if random.oneIn(4) { slowLoads = 60 }
        if random.oneIn(4) { slowWrites = 40 }
        if random.oneIn(5) { (failingLoads, failingWrites) = (0, 0) }
        if random.oneIn(5) { (failingLoads, failingWrites) = (20, 30) }
        if random.oneIn(3) { socketDelay = 5_000...20_000_000 }
        isSlicing = random.oneIn(4)
        if random.oneIn(3) { redisDelay = 50_000...40_000_000 }
        if random.oneIn(12) { redisDelay = 1_000_000...300_000_000 }
        if random.oneIn(4) { lostMessages = [2, 10, 50, 100][random.below(4)] }
        hidesIdentity = random.oneIn(10)
        if random.oneIn(3) { replicationLag = 3_000_000_000 }
        if random.oneIn(2) { pauses = [200, 1000][random.below(2)] }
        if random.oneIn(2) { turnInterruptions = [100, 400, 2000][random.below(3)] }
        if random.oneIn(3) { longestStop = 900_000_000 }
        pace = [4_000_000, 15_000_000, 50_000_000, 150_000_000][random.below(4)]
        let isGroupOff = (0...6).map { $0 > 0 && random.oneIn(3) }
        let areFaultsRare = random.oneIn(3)
        for action in Action.allCases where action.group < 7 && !isGroupOff[action.group] {
            var weight = action.weight
            if action.group > 0 {
                if random.oneIn(3) { weight = 0 }
                if random.oneIn(8) { weight *= 8 }
                if areFaultsRare { weight = (weight + 2) / 4 }
            } else if random.oneIn(4) {
                weight *= 3
            }
            if weight > 0 { weights[action] = weight }
        }
        // Dead or stopped processes must be able to come back.
        (weights[.restartWorker], weights[.restartSyncd]) = (30, 30)
        weights[.read, default: 0] += 1
        hasPlainClients = random.oneIn(2)
        (hasUnreadableTables, hasQuietWorkers) = (random.oneIn(10), random.oneIn(2))
        drawCaches(&random)
        leaveOutImpossible()
        if random.oneIn(3) { followChanges() }
    }

    /// With times of the same order as the real ones, but shorter.
    private mutating func followChanges() {
        hasFeed = true
        limits.feedRoleNanoseconds = 2_000_000_000
        limits.feedStoreNanoseconds = 800_000_000
        for action: Action in [.writeDirectly, .forgetChanges] { weights[action] = action.weight }
    }

    private mutating func drawCaches(_ random: inout SeededRandom) {
        if random.oneIn(3) { arenaBytes = random.oneIn(2) ? 0 : 65_536 }
        if random.oneIn(3) { becomeIdleSoon() }
        if random.oneIn(6) { limits.upstreamTrustNanoseconds = 700_000_000 }
    }

    private mutating func becomeIdleSoon() {
        limits.idleNanoseconds = 300_000_000
        limits.idleProbeNanoseconds = 8_000_000_000
    }

    /// Leaves out races that need an action which this world does not have.
    private mutating func leaveOutImpossible() {
        // Without an arena, an embedded syncd keeps nothing, and without a table its workers neither.
        if isEmbedded, hasUnreadableTables, arenaBytes == 0 { arenaBytes = 4096 }
        if weights[.goBack] == nil { weights[.rewrittenLog] = nil }
        if weights[.trim] == nil { weights[.trimmedGap] = nil }
        if weights[.cut] == nil {
            for lost: Action in [.missedMuch, .lostAnswer, .longPass, .attaching, .slowPages, .idleRead] {
                weights[lost] = nil
            }
        }
        if weights[.failOver] == nil || weights[.killSyncd] == nil { weights[.lostTail] = nil }
        if weights[.deleteKey] == nil || weights[.killSyncd] == nil { weights[.lostLog] = nil }
        if weights[.wipeDirectory] == nil || weights[.killSyncd] == nil { weights[.newTable] = nil }
        if weights[.killWorker] == nil { (weights[.lateOrphan], weights[.lateTransaction]) = (nil, nil) }
        if weights[.hangWorker] == nil { weights[.hungWriter] = nil }
        if weights[.replaceJournal] == nil || weights[.killWorker] == nil { weights[.replacedJournal] = nil }
        if weights[.fillJournal] == nil { weights[.doubtWithoutJournal] = nil }
        if weights[.killSyncd] == nil { weights[.syncdStarts] = nil }
        if weights[.keepFile] == nil || weights[.cut] == nil || limits.pending > 2 { weights[.undeletableMarker] = nil }
        if weights[.splitEngine] == nil { weights[.splitLog] = nil }
        if weights[.stopSyncd] == nil {
            for late: Action in [.lateRead, .wakeRace, .lateCut, .longPass] { weights[late] = nil }
        }
    }

    /// Makes one action frequent: once in five times.
    mutating func vary(_ variation: Variation) {
        hasCacheFeatures = variation.hasCacheFeatures
        if variation.often == .undeletableMarker { limits.pending = 2 }
        if variation.often == .idleRead { becomeIdleSoon() }
        if variation.often == .writeDirectly { followChanges() }
        if let often = variation.often { weights[often] = max(60, weights.values.reduce(0, +) / 4) }
    }
}
