import IPCWire

/// The finding of an inspection (docs/consistency.md, "The log", the table).
enum ContinuityVerdict: Equatable {
    /// The server has the log that was applied so far. `isContinuous`: the last applied entry matches.
    case proceed(isContinuous: Bool)
    /// The server has a sound log, but another one: another host replaced it, or this process has just started.
    case switchLog
    case replace(IsolationReason, EpochReason)

    /// - Parameters:
    ///   - floor: the greatest position of any log now. Entries of the same log that came since the question are no reason
    ///     to replace it.
    ///   - earlier: the last entry that an earlier syncd of this host applied.
    init(
        on found: Inspection, expected: LogSession.Expected, floor: LogPosition, earlier: AppliedEntry?,
        hasReplaced: Bool, logs: KnownLogs
    ) {
        self =
            switch found.incarnation {
            case nil: .replace(.noLog, .incarnation)
            case _ where Self.isOtherProcess(found, hasReplaced: hasReplaced): .replace(.otherProcess, .incarnation)
            case logs.damaged: .replace(.otherKeys, .discontinuous)
            // Positions never go back, whichever host made the log: a slot ahead of it would be a miss for ever.
            case _ where found.position < expected.floor || (found.lastEntry ?? 0) > found.position:
                .replace(.logWentBack, .discontinuous)
            case let theirs where theirs != logs.current || !logs.isOurs:
                if found.position < floor {
                    .replace(.logWentBack, .discontinuous)
                } else if let earlier, let entry = found.entryAtLastApplied, theirs == logs.current,
                    entry.applied != earlier, !breaks(.unknownHistoryKept)
                {
                    .replace(.logChanged, .discontinuous)
                } else {
                    .switchLog
                }
            default:
                switch (expected.lastEntry, found.entryAtLastApplied) {
                // Nothing of this log has been applied yet: catching up will show a hole.
                case (nil, _): .proceed(isContinuous: true)
                case (_, nil): .proceed(isContinuous: false)
                case (let ours, let theirs) where ours == theirs || breaks(.lastEntryIgnored):
                    .proceed(isContinuous: true)
                default: .replace(.logChanged, .discontinuous)
                }
            }
    }

    /// Whether the server is another process than the one that the log was recorded in. A server that shows no identity
    /// counts as another one, unless the log was replaced over this very connection.
    private static func isOtherProcess(_ found: Inspection, hasReplaced: Bool) -> Bool {
        if breaks(.identityIgnored) { return false }
        return found.identity == nil ? !hasReplaced : found.identity != found.recordedIdentity
    }
}
