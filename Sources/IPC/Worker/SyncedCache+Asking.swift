import IPCWire
import NIOCore

extension SyncedCache {
    /// Asks syncd for a key, and loads and fills it if syncd hands out the lease.
    func ask(_ question: Question, over connection: SyncdConnection, flight: Flight) async -> FlightEnd {
        switch await connection.fetch(question.key, waitMilliseconds: configuration.waitMilliseconds) {
        case .failure, .success(.miss): return .miss
        case .success(.hit(let hit)):
            l1.insert(hit, for: question.key)
            auditor?.countHit(hit, of: question.key, load: question.load)
            return .found(hit)
        case .success(.lease(let lease)):
            guard !Task.isCancelled else {
                abandon(question.key, lease, over: connection)
                return .failed(CancellationError())
            }
            flights.advance(flight, of: question.key, to: .loading)
            return await load(question, under: lease, over: connection, flight: flight)
        }
    }

    private func load(
        _ question: Question, under lease: Lease, over connection: SyncdConnection, flight: Flight
    ) async -> FlightEnd {
        let value: ByteBuffer?
        do {
            value = try await question.load()
        } catch {
            abandon(question.key, lease, over: connection)
            return .failed(error)
        }
        guard value?.readableBytes ?? 0 <= limits.valueBytes else {
            abandon(question.key, lease, over: connection)
            return .unproven(value)
        }
        flights.advance(flight, of: question.key, to: .filling)
        guard await fill(question, with: value, under: lease, over: connection) else { return .unproven(value) }
        let hit = Hit(
            value: value, asOf: lease.asOf, ttlMilliseconds: question.ttlMilliseconds, tags: question.tags,
            epoch: lease.epoch)
        l1.insert(hit, for: question.key)
        return .filled(hit)
    }

    /// Whether syncd took the value, and so vouches that nothing was invalidated since the lease.
    private func fill(
        _ question: Question, with value: ByteBuffer?, under lease: Lease, over connection: SyncdConnection
    ) async -> Bool {
        let request = Request.fill(
            Fill(
                key: question.key, lease: lease.id, ttlMilliseconds: question.ttlMilliseconds, tags: question.tags,
                value: value))
        let cost = RequestCost(bytes: question.key.readableBytes + (value?.readableBytes ?? 0))
        switch await connection.request(request, cost: cost) {
        case .success(let reply) where reply.isOK: return true
        case .success(.error(let text)):
            // These three end the lease by themselves; after any other refusal others must not wait for it.
            if ![.stale, .noLease, .isolated].contains(ReplyError(text).code) {
                abandon(question.key, lease, over: connection)
            }
        case .success: connection.close()
        case .failure(.backlogFull): abandon(question.key, lease, over: connection)
        case .failure: break
        }
        return false
    }

    /// The next waiter, on any worker, may try.
    private func abandon(_ key: ByteBuffer, _ lease: Lease, over connection: SyncdConnection) {
        connection.tell(.abandon(key: key, lease: lease.id))
    }
}
