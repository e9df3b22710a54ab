import Logging

/// Problems of the journal: each kind is logged when it begins or changes, and when it ends.
struct JournalProblems {
    enum Kind: Hashable {
        case reading, writing, cleaning
        /// Files whose tags are in the log cannot be deleted.
        case deleting

        fileprivate var text: String {
            switch self {
            case .reading: "the journal cannot be used"
            case .writing: "pending invalidations cannot be written into the journal"
            case .cleaning: "files of dead processes cannot be removed from the journal"
            case .deleting:
                "files of the journal cannot be deleted: they are in the log and do no harm; delete them, after lsattr, "
                    + "mount or ls -ld has shown what forbids it"
            }
        }

        fileprivate var end: String {
            switch self {
            case .reading: "the journal can be used again"
            case .writing: "pending invalidations can be written again"
            case .cleaning: "files of dead processes are removed again"
            case .deleting: "files of the journal can be deleted again"
            }
        }
    }

    let path: String
    let logger: Logger
    private var known: [Kind: String] = [:]

    init(path: String, logger: Logger) {
        self.path = path
        self.logger = logger
    }

    /// - Parameter isSame: a changed text is not logged again while the problem lasts.
    mutating func report(_ kind: Kind, _ problem: String?, isSame: Bool = false) {
        guard problem != known[kind], !isSame || problem == nil || known[kind] == nil else { return }
        known[kind] = problem
        if let problem {
            logger.error("\(kind.text)", metadata: ["path": "\(path)", "problem": "\(problem)"])
        } else {
            logger.notice("\(kind.end)")
        }
    }
}
