import IPCWire
import NIOCore

/// A request for a value that must not be older than a write that this host has not applied.
struct PositionWait: Sendable {
    var client: ClientID
    var request: RequestID
    var ticket: UInt64
    var key: ByteBuffer
    /// Of the log that this host is attached to.
    var position: LogPosition
    /// Until then the client waits for somebody's load.
    var end: BootTime
}

/// The requests that wait until a position is applied (docs/consistency.md, "Reading your own writes"). Isolation ends
/// all of them, so that their positions are those of one log.
struct PositionWaits: Sendable {
    /// Maximum time of a wait.
    static let nanoseconds: UInt64 = 50_000_000
    /// Maximum number of waits.
    static let limit = 1024

    private var waits: [UInt64: PositionWait] = [:]
    /// At most the least position that is waited for: most entries end no wait.
    private var least = LogPosition.max
    private var countOf: [ClientID: Int] = [:]

    var count: Int { waits.count }
    func count(of client: ClientID) -> Int { countOf[client] ?? 0 }
    func contains(_ ticket: UInt64) -> Bool { waits[ticket] != nil }

    mutating func add(_ wait: PositionWait) {
        waits[wait.ticket] = wait
        countOf[wait.client, default: 0] += 1
        least = min(least, wait.position)
    }

    mutating func remove(_ ticket: UInt64) -> PositionWait? {
        guard let wait = waits.removeValue(forKey: ticket) else { return nil }
        if let count = countOf[wait.client] { countOf[wait.client] = count > 1 ? count - 1 : nil }
        if waits.isEmpty { least = .max }
        return wait
    }

    mutating func removeClient(_ client: ClientID) {
        guard countOf[client] != nil else { return }
        for wait in waits.values.filter({ $0.client == client }) { _ = remove(wait.ticket) }
    }

    /// Takes the waits up to a position, in the order of their arrival.
    mutating func take(upTo position: LogPosition) -> [PositionWait] {
        guard least <= position else { return [] }
        let taken = waits.values.filter { $0.position <= position }.sorted { $0.ticket < $1.ticket }
        for wait in taken { _ = remove(wait.ticket) }
        least = waits.values.reduce(.max) { min($0, $1.position) }
        return taken
    }
}

extension SyncEngine {
    /// Answers FETCH … AFTER: as FETCH if this host has applied the position. Otherwise the client waits for it, or reads the
    /// database.
    mutating func fetchAfter(
        _ position: SyncPosition, _ client: ClientID, _ id: RequestID, key: ByteBuffer, wait: UInt64?,
        _ turn: inout Turn<Effect>
    ) {
        // While the host is isolated, `applied` may be a position of another log than the one that it leaves.
        guard let place = position.place, log.state == .attached, place.incarnation == log.incarnation else {
            return missed(client, id, &turn)
        }
        if log.applied >= place.position { return fetch(client, id, key: key, wait: wait, &turn) }
        guard let wait, wait > 0, clients[client]?.version == .v3, hasRoom(client) else {
            return missed(client, id, &turn)
        }
        let ticket = loads.makeTicket()
        let end = turn.now + wait * 1_000_000
        positionWaits.add(
            PositionWait(
                client: client, request: id, ticket: ticket, key: key.compacted, position: place.position, end: end))
        deadlines.add(.position(ticket), at: min(end, turn.now + PositionWaits.nanoseconds))
        turn.add(.reply(client, id, .wait(ticket: ticket)))
    }

    private func hasRoom(_ client: ClientID) -> Bool {
        let (total, limit) = (positionWaits.count, PositionWaits.limit)
        return total < limit && isWithinShare(client, total: total, limit: limit) { positionWaits.count(of: $0) }
    }

    private mutating func missed(_ client: ClientID, _ id: RequestID, _ turn: inout Turn<Effect>) {
        figures.misses += 1
        turn.add(.reply(client, id, .fetched(.miss)))
    }

    /// Answers the requests whose position is applied.
    mutating func answerAppliedPositions(_ turn: inout Turn<Effect>) {
        for wait in positionWaits.take(upTo: log.applied) {
            let rest = wait.end > turn.now ? (wait.end - turn.now) / 1_000_000 : 0
            fetch(wait.client, wait.request, ticket: wait.ticket, key: wait.key, wait: rest, &turn)
        }
    }

    /// Ends all waits: nothing is answered from cache, or the positions are those of another log.
    mutating func endPositionWaits(_ turn: inout Turn<Effect>) {
        for wait in positionWaits.take(upTo: .max) { positionWaitEnded(wait, &turn) }
    }

    /// The client reads the database.
    mutating func positionWaitEnded(_ wait: PositionWait, _ turn: inout Turn<Effect>) {
        figures.misses += 1
        turn.add(.push(wait.client, .fetched(ticket: wait.ticket, .miss)))
    }
}
