#if MUTANTS
    /// Rules that the simulator breaks on purpose, one at a time, to show that its checks notice. Compiled with
    /// `-D MUTANTS` only (scripts/mutants).
    package enum Mutant: String, CaseIterable, Sendable {
        // How a worker judges what it holds.
        case slotsBeforeBeat, clockFirst, epochIgnored, stateIgnored, freshAsOfIgnored, slotOffByOne
        // How a worker shares loads.
        case joinerGetsOlderLoad, directLoadJoinedLate
        // How a worker writes.
        case silenceIsSuccess, noTrustWindowWait, doubtfulIsForgotten, unchangedNotInvalidated
        case acknowledgedWhileBelieved
        // How syncd answers.
        case fillWithoutLease, fillChecksKeyOnly, leaseOutlivesEpoch, verdictAtQuestion, fenceIgnored, sleepForgotten
        case leaseIDsRepeat, twoLeases, newTableNotHeldBack, deferredIsForgotten
        // The journal.
        case beatWithoutJournal, beatStampedLate, owedDeletedFirst, orphanOnce, orphanForgottenEarly
        case hungOwnerIgnored, outdatedPassBeats, directoryNotCompared
        // The log.
        case identityIgnored, lastEntryIgnored, incarnationIgnored, horizonIgnored, gapIgnored, entriesOutOfOrder
        case probeNotCovered, committedNotRaised, trimIgnored, positionBackIgnored, attachedAtProof, damageForgotten
        case lostEntriesForgotten
        // What the storage must see to.
        case readFromLaggingReplica, deadlineMissing

        /// The rule that is broken now.
        // Unchecked: set once, before anything runs.
        package nonisolated(unsafe) static var active: Mutant?
    }

    extension TagTable {
        /// ``isFresh(slots:asOf:epoch:clock:)`` with one rule broken. The clock is asked between the loads, too: there
        /// the simulation may stop the worker.
        @usableFromInline
        package func isFreshMutated(slots: [UInt32], asOf: UInt64, epoch entryEpoch: UInt64, clock: () -> UInt64)
            -> Bool
        {
            let mutant = Mutant.active
            let allowed = mutant == .slotOffByOne ? asOf + 1 : asOf
            var now: UInt64 = 0
            if mutant == .clockFirst {
                now = clock()
                _ = clock()
            }
            if mutant == .slotsBeforeBeat {
                for index in slots where slot(index) > allowed { return false }
                _ = clock()
            }
            let (state, beat, freshAsOf) = (state, beat, freshAsOf)
            guard state == .attached || mutant == .stateIgnored else { return false }
            _ = clock()
            if mutant != .slotsBeforeBeat { for index in slots where slot(index) > allowed { return false } }
            _ = clock()
            guard epoch == entryEpoch || mutant == .epochIgnored else { return false }
            if mutant != .clockFirst { now = clock() }
            return TagTable.isWithin(now, of: beat, TrustTiming.trustWindowNanoseconds)
                && (mutant == .freshAsOfIgnored
                    || TagTable.isWithin(now, of: freshAsOf, TrustTiming.upstreamTrustNanoseconds))
        }
    }
#endif
