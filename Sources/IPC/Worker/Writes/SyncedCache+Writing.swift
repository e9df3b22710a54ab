import IPCWire
import NIOCore

extension SyncedCache {
    /// Runs a write, and returns when no client of this host can be answered from cache with anything older
    /// (docs/consistency.md, "Writing").
    ///
    /// The tags are invalidated after every answer of the database, also after a write that changed nothing. Only
    /// ``WriteResult/rejected(_:)`` skips it. If the write throws, it may have happened, or may still happen: the tags
    /// are invalidated at once, and again every 5 s until the outcome is known (``UnknownOutcome``) or 120 s have
    /// passed. A write that can reach the database later than that leaves older values in caches.
    ///
    /// - Parameters:
    ///   - tags: what the write changes. More than 1024, or one longer than 256 B, stand for everything.
    ///   - write: changes the database, within 2 s.
    /// - Throws: what `write` throws, of an ``UnknownOutcome`` the error in it, and nothing else. Cancellation reaches
    ///   `write` but not what comes after it.
    public func invalidating<Value: Sendable>(
        _ tags: [CacheTag], write: @Sendable () async throws -> WriteResult<Value>
    ) async throws -> Value {
        try await writing(tags, write: write).value
    }

    /// The same as ``invalidating(_:write:)``, with the position of the write in the log, for reads on other hosts.
    public func writing<Value: Sendable>(
        _ tags: [CacheTag], write: @Sendable () async throws -> WriteResult<Value>
    ) async throws -> Written<Value> {
        let isShared = configuration.socketPath != nil && !tags.isEmpty
        let tags = invalidatable(tags)
        let intent = isShared ? session.begin(tags) : nil
        let result: WriteResult<Value>
        do {
            result = try await write()
        } catch {
            let unknown = error as? UnknownOutcome
            if isShared {
                _ = await commit(
                    Commitment(
                        tags: tags, event: nil, intent: intent, isOutcomeUnknown: true, settled: unknown?.settled))
            }
            throw unknown?.underlying ?? error
        }
        var position = SyncPosition.unknown
        switch result {
        case .rejected(let error):
            intent?.delete()
            throw error
        case .unchanged(let value):
            if breaks(.unchangedNotInvalidated) {
                intent?.delete()
            } else if isShared {
                position = await commit(Commitment(tags: tags, event: nil, intent: intent, isOutcomeUnknown: false))
            }
            return Written(value: value, position: position)
        case .changed(let value, let event, let time):
            if isShared {
                position = await commit(
                    Commitment(
                        tags: tags, event: event.flatMap(publishable), time: time, intent: intent,
                        isOutcomeUnknown: false))
            }
            return Written(value: value, position: position)
        }
    }

    /// The invalidation of a write.
    private struct Commitment: Sendable {
        var tags: [CacheTag]
        var event: Event?
        /// When the database has applied the write.
        var time: OperationTime?
        var intent: Intent?
        /// The write may still reach the database.
        var isOutcomeUnknown: Bool
        /// Returns when the write can't reach the database any more, if there is a way to know.
        var settled: (@Sendable () async -> Void)?
    }

    /// Returns the position of the invalidation, when the write may be acknowledged. A client that disconnects must not
    /// cause this too early: nothing in here heeds cancellation.
    private func commit(_ commitment: Commitment) async -> SyncPosition {
        if breaks(.unknownOutcomeIsForgotten), commitment.isOutcomeUnknown {
            commitment.intent?.delete()
            return .unknown
        }
        // From the rename on syncd invalidates the tags before every heartbeat, with or without a request from here.
        let isOrphan = commitment.isOutcomeUnknown ? commitment.intent?.becomeOrphan() ?? false : false
        var isRecorded = isOrphan
        var recordedAt = clock.now()
        defer {
            if commitment.isOutcomeUnknown { follow(commitment, isRepeatedBySyncd: isOrphan) }
        }
        let (connection, generation) = session.current
        let log = l1.table?.attachedLog
        let time = session.hasFeeds ? commitment.time : nil
        let answer =
            await connection?.invalidate(commitment.tags, event: commitment.event, at: time) ?? .none(wasSent: false)
        if breaks(.silenceIsSuccess), answer == .none(wasSent: true) {
            commitment.intent?.delete()
            return .unknown
        }
        if case .taken(let position) = answer {
            if !commitment.isOutcomeUnknown { commitment.intent?.delete() }
            return self.position(position, attachedBefore: log)
        }
        if !isOrphan {
            isRecorded = commitment.intent?.becomePending() ?? false
            recordedAt = clock.now()
        }
        let isRead = isRecorded && session.isReadBySyncd(commitment.intent)
        if !isRead { session.unjournaled.add(commitment.tags) }
        // An event is published at most once: again only if syncd certainly has not received it.
        let event = answer == .none(wasSent: false) ? commitment.event : nil
        if breaks(.noTrustWindowWait) { return .unknown }
        let distrustedAt = distrustedAt(recordedAt: recordedAt, isRecorded: isRecorded)
        guard clock.now() < distrustedAt else { return .unknown }
        // A separate task, since waiting for a connection or for a time does heed cancellation.
        await Task {
            await takenOrDistrusted(commitment.tags, event: event, after: generation) { [isRecorded] in
                try await self.clock.sleep(distrustedAt)
                // syncd may have gone on meanwhile, and found nothing. If the journal can be used again, it finds a record
                // before its next heartbeat.
                guard !isRecorded, (commitment.intent ?? self.session.begin(commitment.tags))?.becomePending() == true
                else {
                    return
                }
                try await self.clock.sleep(self.distrustedAt(recordedAt: self.clock.now(), isRecorded: true))
            }
        }.value
        return .unknown
    }

    /// The position of an invalidation that syncd has appended.
    ///
    /// syncd's reply does not name the log. An incarnation never comes back, so a log that the table shows as the attached
    /// one before and after it is the one that the position belongs to.
    private func position(_ position: LogPosition?, attachedBefore log: Incarnation?) -> SyncPosition {
        let now = l1.table?.attachedLog
        guard let position, let log = breaks(.logOfPositionAskedOnce) ? now : log, now == log else { return .unknown }
        return SyncPosition(SyncPosition.Place(incarnation: log, position: position))
    }

    /// The time from which no heartbeat is trusted any more that may have missed the record.
    ///
    /// A reading of the journal that begins after the record finds it. An earlier one has a time of at most that of the
    /// newest reading, which the table shows. Without a record, or if the newest reading is unknown, the whole window
    /// passes.
    private func distrustedAt(recordedAt: BootTime, isRecorded: Bool) -> BootTime {
        if breaks(.acknowledgedWhileBelieved) { return 0 }
        let newest = isRecorded ? session.newestReadingOfJournal ?? recordedAt : recordedAt
        // A heartbeat exactly as old as its window is trusted. A time in the future is not: another boot wrote it.
        return min(recordedAt, newest) + TrustTiming.trustWindowNanoseconds + 1_000_000
    }

    /// Invalidates the tags of a write of unknown outcome once more when it can't land any more.
    private func follow(_ commitment: Commitment, isRepeatedBySyncd: Bool) {
        let unjournaled = session.unjournaled
        // syncd repeats the tags that it reads in the journal. Other tags are known to this process only.
        var repetition: UnjournaledWrites.Repetition?
        if !isRepeatedBySyncd || !session.isReadBySyncd(commitment.intent) {
            repetition = unjournaled.repeat(commitment.tags, from: clock.now())
        }
        guard let settled = commitment.settled else { return }
        session.unsettled.follow(until: settled) { [session, repetition] in
            guard await session.invalidate(commitment.tags) else { return }
            if let repetition { unjournaled.stop(repetition) }
            if isRepeatedBySyncd { commitment.intent?.delete() }
        }
    }

    /// Returns when syncd has accepted the invalidation over a new connection, or when `distrusted` returns: when the
    /// last heartbeat that could have missed it is too old to be trusted.
    private func takenOrDistrusted(
        _ tags: [CacheTag], event: Event?, after generation: UInt64,
        distrusted: @escaping @Sendable () async throws -> Void
    ) async {
        let settled = SharedTask<Void>()
        let retry = Task {
            var (event, generation) = (event, generation)
            while let (connection, current) = await session.connection(after: generation) {
                generation = current
                switch await connection.invalidate(tags, event: event) {
                case .taken: return settled.finish(())
                case .refused, .none(wasSent: true): event = nil
                case .none(wasSent: false): break
                }
            }
        }
        let distrust = Task {
            try await distrusted()
            settled.finish(())
        }
        // This runs in a task that is never cancelled.
        _ = try? await settled.value()
        retry.cancel()
        distrust.cancel()
    }

    /// Tags as syncd accepts them. A tag that no entry can have, or too many, stand for everything.
    private func invalidatable(_ tags: [CacheTag]) -> [CacheTag] {
        let isInvalidatable =
            tags.count <= limits.tagsPerInvalidation
            && tags.allSatisfy { $0.bytes.readableBytes > 0 && $0.bytes.readableBytes <= limits.tagBytes }
        if breaks(.firstTagOnly) { return Array(tags.prefix(1)) }
        return isInvalidatable ? tags : [.everything]
    }

    /// An event that fits into a frame; others are not published.
    private func publishable(_ event: Event) -> Event? {
        event.channel.readableBytes <= limits.channelBytes && event.payload.readableBytes <= limits.valueBytes
            ? event : nil
    }
}
