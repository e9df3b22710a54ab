import IPCWire
import NIOCore
import Synchronization

/// How asking syncd for a key ended.
enum FlightEnd: Sendable {
    /// syncd had it.
    case found(Hit)
    /// Loaded under a lease, and syncd took it.
    case filled(Hit)
    /// Loaded under a lease, but invalidated meanwhile, or syncd didn't say: good for who loaded it, not for others.
    case unproven(ByteBuffer?)
    /// The load failed.
    case failed(any Error)
    /// syncd can't help: the database must be read without it.
    case miss
}

/// What everybody who waited for a flight learns.
struct FlightResult: Sendable {
    var end: FlightEnd
    /// Whether the value was fresh, by the table, after the last one had joined.
    var isFreshAtEnd: Bool
}

/// One request for a key on its way through syncd, perhaps with a load in it.
final class Flight: Sendable {
    let shared = SharedTask<FlightResult>()
}

/// Which keys are being asked for (docs/consistency.md, "Reading", step 4).
///
/// Who joins must get nothing older than the moment of joining. syncd's verdict is made after its request was
/// sent: that covers whoever had joined before. For those who came later the verdict may be outdated by the time it
/// arrives, so for them the table is asked once more when nobody can join any longer.
final class SingleFlight: Sendable {
    enum Phase { case fetching, loading, filling }

    enum Role {
        /// Ask syncd, and tell the others.
        case lead(Flight)
        /// Wait for who asks. `isCovered`: a FILL has not been sent yet, so its verdict will hold for this one, too.
        case join(Flight, isCovered: Bool)
        /// Ask syncd for oneself: what the running flight brings could not be proven fresh.
        case alone
    }

    private struct Entry {
        var flight: Flight
        var phase = Phase.fetching
    }

    private let entries = Mutex<[ByteBuffer: Entry]>([:])

    /// Takes part in asking for `key`. Without a table only a load that has begun can be joined: nothing else will
    /// be proven for who comes later.
    func take(_ key: ByteBuffer, hasTable: Bool) -> Role {
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

    /// Callers that wait for a flight.
    var waitingCount: Int { entries.withLock { $0.values.reduce(0) { $0 + $1.flight.shared.interestedCount } } }

    /// The flight goes into its next phase.
    func advance(_ flight: Flight, of key: ByteBuffer, to phase: Phase) {
        entries.withLock { entries in
            if entries[key]?.flight === flight { entries[key]?.phase = phase }
        }
    }

    /// Nobody can join it any more.
    func remove(_ flight: Flight, of key: ByteBuffer) {
        entries.withLock { entries in
            if entries[key]?.flight === flight { entries[key] = nil }
        }
    }
}
