/// Rules that the simulator breaks on purpose, one at a time, to show that its checks notice. They can be broken only if
/// `MUTANTS` is defined (scripts/mutants).
@usableFromInline
package enum Mutant: String, CaseIterable, Sendable {
    // How a worker judges what it holds.
    case slotsBeforeBeat, clockFirst, epochIgnored, stateIgnored, freshAsOfIgnored, slotOffByOne
    // How a worker shares loads.
    case joinerGetsOlderLoad, bypassLoadJoinedLate
    // How a worker writes.
    case silenceIsSuccess, noTrustWindowWait, unknownOutcomeIsForgotten, unchangedNotInvalidated
    case acknowledgedWhileBelieved, firstTagOnly
    // How syncd answers.
    case fillWithoutLease, fillChecksKeyOnly, leaseOutlivesEpoch, verdictAtQuestion, fenceIgnored, sleepForgotten
    case leaseIDsRepeat, twoLeases, renewedByEverybody, newTableNotHeldBack, deferredIsForgotten
    // The journal.
    case beatWithoutJournal, beatStampedLate, owedDeletedFirst, orphanOnce, orphanForgottenEarly
    case hungOwnerIgnored, outdatedPassBeats, directoryNotCompared, undeletableForgotten, undeletableObeyed
    // The log.
    case identityIgnored, lastEntryIgnored, incarnationIgnored, horizonIgnored, gapIgnored, entriesOutOfOrder
    case probeNotCovered, committedNotRaised, trimIgnored, positionBackIgnored, attachedAtProof, damageForgotten
    case lostEntriesForgotten
    // What the storage has to see to.
    case readFromLaggingReplica, deadlineMissing

    #if MUTANTS
        /// The rule that is broken now.
        @usableFromInline
        // Unchecked: set once, before anything runs.
        package nonisolated(unsafe) static var active: Mutant?
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
