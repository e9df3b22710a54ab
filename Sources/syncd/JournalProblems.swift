import Logging
import SyncCore

/// Problems of the journal: each kind is logged when it begins or changes, and when it ends.
struct JournalProblems {
    let path: String
    let logger: Logger
    private var known: [JournalTrouble: String] = [:]

    init(path: String, logger: Logger) {
        self.path = path
        self.logger = logger
    }

    /// - Parameter isSame: a changed text is not logged again while the problem lasts.
    mutating func report(_ kind: JournalTrouble, _ problem: String?, isSame: Bool = false) {
        guard problem != known[kind], !isSame || problem == nil || known[kind] == nil else { return }
        known[kind] = problem
        if let problem {
            logger.error("\(kind.text)", metadata: ["path": "\(path)", "problem": "\(problem)"])
        } else {
            logger.notice("\(kind.end)")
        }
    }
}

extension JournalTrouble {
    fileprivate var text: String {
        switch self {
        case .reading: "the journal cannot be used"
        case .writing: "what is pending cannot be written into the journal"
        case .cleaning: "what dead processes have left in the journal cannot be removed"
        case .deleting:
            "files of the journal cannot be deleted: they are in the log and do no harm; delete them, after lsattr, "
                + "mount or ls -ld has shown what forbids it"
        }
    }

    fileprivate var end: String {
        switch self {
        case .reading: "the journal can be used again"
        case .writing: "what is pending can be written again"
        case .cleaning: "what dead processes have left is removed again"
        case .deleting: "files of the journal can be deleted again"
        }
    }
}
