import IPCWire
import NIOCore

extension SyncedCache {
    /// Runs a write, and returns when nobody on this host can be answered from cache with anything older
    /// (docs/consistency.md, "Writing").
    ///
    /// Whatever the database said, the tags are invalidated, also after a write that changed nothing. Only
    /// ``WriteResult/rejected(_:)`` skips it. If the write throws it may have happened, or may happen yet: the tags are
    /// invalidated at once, and again every 5 s until the outcome is known (``UnknownOutcome``) or 120 s have passed.
    /// A write that can reach the database later than that leaves older values in caches.
    ///
    /// - Parameters:
    ///   - tags: what the write changes. More than 1024, or one longer than 256 B, stand for everything.
    ///   - write: changes the database, within 2 s.
    /// - Throws: what `write` throws, of an ``UnknownOutcome`` the error in it, and nothing else. Cancellation reaches
    ///   `write` but not what comes after it.
    public func invalidating<Value: Sendable>(
        _ tags: [ByteBuffer], write: @Sendable () async throws -> WriteResult<Value>
    ) async throws -> Value {
        let isShared = configuration.socketPath != nil && !tags.isEmpty
        let tags = invalidatable(tags)
        let intent = isShared ? session.begin(tags) : nil
        let result: WriteResult<Value>
        do {
            result = try await write()
        } catch {
            let unknown = error as? UnknownOutcome
            if isShared {
                await commit(
                    Commitment(tags: tags, event: nil, intent: intent, isDoubtful: true, settled: unknown?.settled))
            }
            throw unknown?.underlying ?? error
        }
        switch result {
        case .rejected(let error):
            intent?.delete()
            throw error
        case .unchanged(let value):
            if breaks(.unchangedNotInvalidated) {
                intent?.delete()
            } else if isShared {
                await commit(Commitment(tags: tags, event: nil, intent: intent, isDoubtful: false))
            }
            return value
        case .changed(let value, let event):
            if isShared {
                await commit(
                    Commitment(tags: tags, event: event.flatMap(publishable), intent: intent, isDoubtful: false))
            }
            return value
        }
    }

    /// What is to be made known about a write.
    private struct Commitment: Sendable {
        var tags: [ByteBuffer]
        var event: Event?
        var intent: Intent?
        /// The write may still reach the database.
        var isDoubtful: Bool
        /// Returns when it can't any more, if there is a way to know.
        var settled: (@Sendable () async -> Void)?
    }

    /// Returns when the write may be acknowledged. A client that hangs up must not make that happen too early: nothing
    /// in here heeds cancellation.
    private func commit(_ commitment: Commitment) async {
        if breaks(.doubtfulIsForgotten), commitment.isDoubtful { return commitment.intent?.delete() ?? () }
        // From the rename on syncd invalidates it before every beat, whether it hears from us or not.
        let isOrphan = commitment.isDoubtful ? commitment.intent?.becomeOrphan() ?? false : false
        var isRecorded = isOrphan
        var recordedAt = clock.now()
        defer {
            if commitment.isDoubtful { follow(commitment, isRepeatedBySyncd: isOrphan) }
        }
        let (connection, generation) = session.current
        let answer = await connection?.invalidate(commitment.tags, event: commitment.event) ?? .none(wasSent: false)
        if breaks(.silenceIsSuccess), answer == .none(wasSent: true) { return commitment.intent?.delete() ?? () }
        if answer == .taken {
            if !commitment.isDoubtful { commitment.intent?.delete() }
            return
        }
        if !isOrphan {
            isRecorded = commitment.intent?.becomeOwed() ?? false
            recordedAt = clock.now()
        }
        let isRead = isRecorded && session.isReadBySyncd(commitment.intent)
        if !isRead { session.unrecorded.add(commitment.tags) }
        // An event is published at most once: again only if syncd can't have seen it.
        let event = answer == .none(wasSent: false) ? commitment.event : nil
        if breaks(.noTrustWindowWait) { return }
        // Whatever is read from the journal from now on has the file. What was read before is believed for one window.
        let lastMissed = breaks(.acknowledgedWhileBelieved) ? 0 : session.newestReadingOfJournal ?? recordedAt
        // The beat may be as old as its window exactly.
        let distrustedAt = min(recordedAt, lastMissed) + TrustTiming.trustWindowNanoseconds + 1_000_000
        guard clock.now() < distrustedAt else { return }
        // In a task of its own, since waiting for a connection or for a time does heed it.
        await Task {
            await takenOrDistrusted(commitment.tags, event: event, after: generation, distrustedAt: distrustedAt)
        }.value
    }

    /// Sees to it that a write of unknown outcome is invalidated once more when it can't land any more.
    private func follow(_ commitment: Commitment, isRepeatedBySyncd: Bool) {
        let isFollowed = commitment.settled.map { settled in
            session.unsettled.follow { [session] in
                await settled()
                guard await session.invalidate(commitment.tags) else { return }
                if isRepeatedBySyncd { commitment.intent?.delete() }
            }
        }
        // Nobody else repeats it: neither the task above, nor syncd, which reads of it in the journal.
        if isFollowed != true, !(isRepeatedBySyncd && session.isReadBySyncd(commitment.intent)) {
            session.unrecorded.repeat(commitment.tags, from: clock.now())
        }
    }

    /// Returns when syncd has taken the invalidation over a new connection, or when the last beat that could have
    /// missed it is too old for anybody to believe.
    private func takenOrDistrusted(
        _ tags: [ByteBuffer], event: Event?, after generation: UInt64, distrustedAt: UInt64
    ) async {
        let settled = Shared<Void>()
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
            try await clock.sleep(distrustedAt)
            settled.finish(())
        }
        // Not cancelled: this runs in a task that nobody can cancel.
        _ = try? await settled.value()
        retry.cancel()
        distrust.cancel()
    }

    /// Tags as syncd accepts them. One that no entry can have, or too many, stand for everything.
    private func invalidatable(_ tags: [ByteBuffer]) -> [ByteBuffer] {
        let isInvalidatable =
            tags.count <= limits.tagsPerInvalidation
            && tags.allSatisfy { $0.readableBytes > 0 && $0.readableBytes <= limits.tagBytes }
        return isInvalidatable ? tags : [ByteBuffer(string: "*")]
    }

    /// An event that fits into a frame; others are not published.
    private func publishable(_ event: Event) -> Event? {
        event.channel.readableBytes <= limits.channelBytes && event.payload.readableBytes <= limits.valueBytes
            ? event : nil
    }
}
