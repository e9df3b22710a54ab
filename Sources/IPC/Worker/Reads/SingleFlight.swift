import IPCWire
import NIOCore
import Synchronization

/// The result of asking syncd for a key.
enum FlightEnd: Sendable {
    /// syncd had the value.
    case found(Hit)
    /// The value was loaded under a lease, and syncd accepted it.
    case filled(Hit)
    /// The value was loaded under a lease, but invalidated meanwhile, or syncd didn't reply: usable for the loading
    /// request, not for others.
    case unconfirmed(ByteBuffer?)
    /// The load failed.
    case failed(any Error)
    /// syncd has no answer: the database must be read without it.
    case miss
}

/// The result for all requests that shared a flight.
struct FlightResult: Sendable {
    var end: FlightEnd
    /// Whether the value was fresh, by the table, after the last request had joined.
    var isFreshAtEnd: Bool
}

/// One request to syncd for a key, possibly with a load.
final class Flight: Sendable {
    let shared = SharedTask<FlightResult>()
}

/// The keys that are being requested (docs/consistency.md, "Reading", step 4).
///
/// A task that joins must get nothing older than the moment of joining. syncd's verdict is made after its request was
/// sent: that covers whoever had joined before. For those who came later the verdict may be outdated by the time it
/// arrives, so for them the table is asked once more when nobody can join any longer.
final class SingleFlight: Sendable {
    enum Phase { case fetching, loading, filling }

    enum Role {
        /// Ask syncd, and pass the result to the others.
        case lead(Flight)
        /// Wait for the request under way. `isCovered`: a FILL has not been sent yet, so its verdict will hold for this
        /// one, too.
        case join(Flight, isCovered: Bool)
        /// Ask syncd separately: the result of the running flight could not be shown to be fresh.
        case alone
    }

    private struct Entry {
        var flight: Flight
        var phase = Phase.fetching
    }

    private let entries = Mutex<[CacheKey: Entry]>([:])

    /// Takes part in asking for `key`. Without a table only a load that has begun can be joined: other results cannot
    /// be shown to be fresh for later requests.
    func take(_ key: CacheKey, hasTable: Bool) -> Role {
        entries.withLock { entries in
            if let entry = entries[key], !entry.flight.shared.isAbandoned {
                guard hasTable || entry.phase == .loading else { return .alone }
                if entry.flight.shared.join() { return .join(entry.flight, isCovered: entry.phase != .filling) }
            }
            let flight = Flight()
            entries[key] = Entry(flight: flight)
            return .lead(flight)
        }
    }

    /// Number of callers that wait for a flight.
    var waitingCount: Int { entries.withLock { $0.values.reduce(0) { $0 + $1.flight.shared.interestedCount } } }

    /// The flight enters its next phase.
    func advance(_ flight: Flight, of key: CacheKey, to phase: Phase) {
        entries.withLock { entries in
            if entries[key]?.flight === flight { entries[key]?.phase = phase }
        }
    }

    /// Ends joining: no request can join the flight any more.
    func remove(_ flight: Flight, of key: CacheKey) {
        entries.withLock { entries in
            if entries[key]?.flight === flight { entries[key] = nil }
        }
    }
}
