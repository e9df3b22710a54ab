/// Rules that the simulator breaks on purpose, one at a time, to show that its checks detect it. They can be broken
/// only if `MUTANTS` is defined (scripts/mutants).
@usableFromInline
package enum Mutant: String, CaseIterable, Sendable {
    // Freshness of a worker's entries.
    case slotsBeforeHeartbeat, clockFirst, epochIgnored, stateIgnored, freshAsOfIgnored, slotOffByOne
    // Values of the arena.
    case recordNotValidated, arenaSlotsBeforeCopy, unknownHistoryKept
    // Sharing of loads in a worker.
    case joinerGetsOlderLoad, bypassLoadJoinedLate
    // Writes of a worker.
    case silenceIsSuccess, noTrustWindowWait, unknownOutcomeIsForgotten, unchangedNotInvalidated
    case acknowledgedWhileBelieved, firstTagOnly
    // Answers of syncd.
    case fillWithoutLease, fillChecksKeyOnly, leaseOutlivesEpoch, verdictAtQuestion, fenceIgnored, sleepForgotten
    case idleHostAnswers, lostLogBelieved, leaseIDsRepeat, twoLeases, renewedByEverybody, newTableNotHeldBack
    case deferredIsForgotten
    // The journal.
    case heartbeatWithoutJournal, heartbeatStampedLate, owedDeletedFirst, orphanOnce, orphanForgottenEarly
    case hungOwnerIgnored, heartbeatAfterOutdatedPass, directoryNotCompared, undeletableForgotten, undeletableObeyed
    // The log.
    case identityIgnored, lastEntryIgnored, incarnationIgnored, firstKnownPositionIgnored, gapIgnored, entriesOutOfOrder
    case probeNotCovered, appendNotCovered, committedNotRaised, trimIgnored, positionBackIgnored, attachedAtProof
    case damageForgotten, lostEntriesForgotten
    // Reads with the position of a write.
    case positionOfAnyLog, positionNotAwaited, logOfPositionAskedOnce
    // Change feeds.
    case feedTokenFirst, echoOfAnyTime, twoFeedReaders
    // Duties of the storage.
    case readFromLaggingReplica, deadlineMissing

    #if MUTANTS
        /// The rule that is broken now.
        @usableFromInline
        // Unchecked: set once, before anything runs.
        package nonisolated(unsafe) static var active: Mutant?
    #else
        /// No rule can be broken.
        @inlinable @inline(__always)
        package static var active: Mutant? { nil }
    #endif
}

/// Whether a rule is broken on purpose. Stands inside of the rule's own expression; without `MUTANTS` it is a constant.
@inlinable @inline(__always)
package func breaks(_ mutant: Mutant) -> Bool {
    #if MUTANTS
        Mutant.active == mutant
    #else
        false
    #endif
}
