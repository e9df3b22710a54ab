import IPCWire
import NIOCore

extension SyncedCache {
    /// Runs a write, and returns when nobody on this host can be answered from cache with anything older
    /// (docs/consistency.md, "Writing").
    ///
    /// If the write throws it may have happened, or happen yet: the tags are invalidated all the same, now and
    /// once more later, and the error is thrown on. A write that is sure to have changed nothing therefore better
    /// returns ``WriteResult/unchanged(_:)`` than throws.
    ///
    /// - Parameters:
    ///   - tags: what the write changes. More than 1024, or one longer than 256 B, stand for everything.
    ///   - write: changes the database, within 2 s.
    /// - Throws: what `write` throws, and nothing else. Cancellation reaches `write` but not what comes after it.
    public func invalidating<Value: Sendable>(
        _ tags: [ByteBuffer], write: @Sendable () async throws -> WriteResult<Value>
    ) async throws -> Value {
        guard configuration.socketPath != nil, !tags.isEmpty else {
            switch try await write() {
            case .changed(let value, _), .unchanged(let value): return value
            }
        }
        let tags = invalidatable(tags)
        let intent = session.begin(tags)
        let result: WriteResult<Value>
        do {
            result = try await write()
        } catch {
            await commit(Commitment(tags: tags, event: nil, intent: intent, isDoubtful: true))
            throw error
        }
        switch result {
        case .unchanged(let value):
            intent?.delete()
            return value
        case .changed(let value, let event):
            await commit(
                Commitment(tags: tags, event: event.flatMap(publishable), intent: intent, isDoubtful: false))
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
    }

    /// Returns when the write may be acknowledged. A client that hangs up must not make that happen too early: nothing
    /// in here heeds cancellation.
    private func commit(_ commitment: Commitment) async {
        #if MUTANTS
            if Mutant.active == .doubtfulIsForgotten, commitment.isDoubtful { return commitment.intent?.delete() ?? () }
        #endif
        // From the rename on syncd invalidates it before every beat, whether it hears from us or not.
        var isRecorded = commitment.isDoubtful ? commitment.intent?.becomeOrphan() ?? false : false
        var recordedAt = clock.now()

        let (connection, generation) = session.current
        let answer = await connection?.invalidate(commitment.tags, event: commitment.event) ?? .none(wasSent: false)
        #if MUTANTS
            if Mutant.active == .silenceIsSuccess, answer == .none(wasSent: true) {
                commitment.intent?.delete()
                return
            }
        #endif
        if answer == .taken {
            if !commitment.isDoubtful { commitment.intent?.delete() }
            return
        }
        if !commitment.isDoubtful || !isRecorded {
            isRecorded = commitment.intent?.becomeOwed() ?? false
            recordedAt = clock.now()
        }
        if !isRecorded || !session.isReadBySyncd(commitment.intent) { session.unrecorded.add(commitment.tags) }
        // An event is published at most once: again only if syncd can't have seen it.
        let event = answer == .none(wasSent: false) ? commitment.event : nil
        #if MUTANTS
            if Mutant.active == .noTrustWindowWait { return }
        #endif
        // In a task of its own, since waiting for a connection or for a time does heed it.
        await Task {
            [recordedAt] in
            await takenOrDistrusted(
                commitment.tags, event: event, after: generation, recordedAt: recordedAt)
        }.value
    }

    /// Returns when syncd has taken the invalidation over a new connection, or when the last beat that could have
    /// missed it is too old for anybody to believe.
    private func takenOrDistrusted(
        _ tags: [ByteBuffer], event: Event?, after generation: UInt64, recordedAt: UInt64
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
            // The beat may be as old as its window exactly.
            try await clock.sleep(recordedAt + TrustTiming.trustWindowNanoseconds + 1_000_000)
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
