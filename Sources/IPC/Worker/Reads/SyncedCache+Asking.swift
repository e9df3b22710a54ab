import IPCWire
import NIOCore

extension SyncedCache {
    /// Asks syncd for a key, and loads and fills it if syncd gives the lease.
    func ask(_ question: Question, over connection: SyncdConnection, flight: Flight) async -> FlightEnd {
        switch await connection.fetch(question.key, waitMilliseconds: waitMilliseconds) {
        case .failure, .success(.miss): return .miss
        case .success(.hit(let hit)):
            l1.insert(hit, for: question.key, lifetimeMilliseconds: milliseconds(question.ttl))
            auditor?.countHit(hit, of: question.key) { try await question.load().value }
            return .found(hit)
        case .success(.lease(let lease)):
            guard !Task.isCancelled else {
                abandon(question.key, lease, over: connection)
                return .failed(CancellationError())
            }
            singleFlight.advance(flight, of: question.key, to: .loading)
            return await load(question, under: lease, over: connection, flight: flight)
        }
    }

    /// As syncd takes it: more than its limit is an error, not a shorter wait.
    private var waitMilliseconds: UInt64 {
        min(configuration.loadWait.wholeNanoseconds / 1_000_000, limits.maximumWaitMilliseconds)
    }

    func load(
        _ question: Question, under lease: Lease, over connection: SyncdConnection, flight: Flight
    ) async -> FlightEnd {
        let loaded: Loaded
        do {
            loaded = try await question.load()
        } catch {
            abandon(question.key, lease, over: connection)
            return .failed(error)
        }
        guard let (tags, ttlMilliseconds) = keeping(loaded, question) else {
            abandon(question.key, lease, over: connection)
            return .unconfirmed(loaded.value)
        }
        singleFlight.advance(flight, of: question.key, to: .filling)
        let hit = Hit(
            value: loaded.value, asOf: lease.asOf, ttlMilliseconds: ttlMilliseconds, tags: tags.map(\.bytes),
            epoch: lease.epoch)
        guard await fill(question.key, with: hit, under: lease, over: connection) else {
            return .unconfirmed(loaded.value)
        }
        l1.insert(hit, for: question.key)
        return .filled(hit)
    }

    /// Whether syncd accepted the value, and so confirms that nothing was invalidated since the lease.
    private func fill(
        _ key: CacheKey, with hit: Hit, under lease: Lease, over connection: SyncdConnection
    ) async -> Bool {
        let request = Request.fill(
            Fill(
                key: key.bytes, lease: lease.id, ttlMilliseconds: hit.ttlMilliseconds, tags: hit.tags,
                value: hit.value))
        let cost = RequestCost(bytes: key.bytes.readableBytes + (hit.value?.readableBytes ?? 0))
        switch await connection.request(request, cost: cost) {
        case .success(let reply) where reply.isOK: return true
        case .success(.error(let text)):
            // These three errors end the lease; after any other error waiters must not wait for it.
            if ![.stale, .noLease, .isolated].contains(ReplyError(text).code) {
                abandon(key, lease, over: connection)
            }
        case .success: connection.close()
        case .failure(.backlogFull): abandon(key, lease, over: connection)
        case .failure: break
        }
        return false
    }

    /// The next waiter, on any worker, gets the lease.
    private func abandon(_ key: CacheKey, _ lease: Lease, over connection: SyncdConnection) {
        connection.tell(.abandon(key: key.bytes, lease: lease.id))
    }
}
