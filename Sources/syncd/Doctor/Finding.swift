import IPC

/// A result of one check of `syncd doctor`.
struct Finding: Sendable, Equatable {
    /// The checks, in the order of the table. Their names are part of the JSON and do not change.
    enum Check: String, Sendable, CaseIterable {
        case settings
        case connection
        case tls
        case server
        case identity
        case role
        case database
        case cluster
        case scripts
        case scriptNames = "script-names"
        case log
        case values
        case readYourWrites = "read-your-writes"
        case publishSubscribe = "publish-subscribe"
        case shardedChannels = "sharded-channels"
        case eventChannels = "event-channels"
        case eviction
        case memory
        case clients
        case limits
        case roundTrip = "round-trip"
        case replication
        case persistence
        case tracking
        case `protocol`
        case commands
    }

    /// From harmless to harmful.
    enum Verdict: Int, Sendable, Comparable {
        case ok
        /// Something to know that endangers nothing.
        case note
        /// syncd works; caches, events or other hosts may suffer.
        case warning
        /// syncd cannot work, or promises are broken.
        case failure

        var label: String {
            switch self {
            case .ok: "ok"
            case .note: "note"
            case .warning: "warning"
            case .failure: "failure"
            }
        }

        static func < (left: Verdict, right: Verdict) -> Bool { left.rawValue < right.rawValue }
    }

    var check: Check
    var verdict: Verdict
    /// The observation.
    var seen: String
    /// The consequence; `nil`: none.
    var follows: String?
    /// The remedy; `nil`: there is nothing to do.
    var remedy: String?
    /// Numbers of the observation, for programs.
    var figures: [StatusField] = []

    init(
        _ check: Check, _ verdict: Verdict, _ seen: String, follows: String? = nil, remedy: String? = nil,
        figures: [StatusField] = []
    ) {
        self.check = check
        self.verdict = verdict
        self.seen = seen
        self.follows = follows
        self.remedy = remedy
        self.figures = figures
    }
}

/// The result of `syncd doctor`.
struct DoctorReport: Sendable, Equatable {
    /// The URL without user and password.
    var endpoint: String
    var namespace: String
    /// Whether a server answered: nothing else could be tested otherwise.
    var isReached = false
    var findings: [Finding] = []

    var verdict: Finding.Verdict { findings.map(\.verdict).max() ?? .ok }

    /// The findings in the order of the checks.
    var sorted: [Finding] {
        Finding.Check.allCases.flatMap { check in findings.filter { $0.check == check } }
    }

    /// 0: nothing worse than notes, 1: warnings, 2: failures, 69: no server answers (EX_UNAVAILABLE).
    var exitStatus: Int32 {
        switch verdict {
        case .ok, .note: 0
        case .warning: 1
        case .failure: isReached ? 2 : 69
        }
    }

    /// The report in the form of STATUS, for its JSON.
    var fields: [StatusField] {
        func text(_ text: String?) -> StatusValue { text.map { .text($0) } ?? .null }
        return [
            StatusField("endpoint", .text(endpoint)), StatusField("namespace", .text(namespace)),
            StatusField("verdict", .text(verdict.label)), StatusField("exit-status", .number(UInt64(exitStatus))),
            StatusField(
                "findings",
                .list(
                    sorted.map { finding in
                        .fields([
                            StatusField("check", .text(finding.check.rawValue)),
                            StatusField("verdict", .text(finding.verdict.label)),
                            StatusField("seen", .text(finding.seen)), StatusField("follows", text(finding.follows)),
                            StatusField("remedy", text(finding.remedy)),
                            StatusField("figures", .fields(finding.figures)),
                        ])
                    })),
        ]
    }
}
