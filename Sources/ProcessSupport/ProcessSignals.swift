import Synchronization
import UnixSignals

/// The way in which a process ends on request.
public enum ShutdownMode: String, Sendable, Hashable {
    /// No new requests are accepted; running ones are finished, within a limit.
    case drain
    /// Running requests are cut.
    case immediate
}

/// A request of an administrator to a running process.
public enum ProcessRequest: Sendable, Hashable {
    /// End the process. `reason` is the name of the signal or command.
    case shutdown(ShutdownMode, reason: String)
    /// Read the configuration again (SIGHUP).
    case reload
}

/// Turns signals into requests: SIGTERM and SIGINT drain the first time and end at once the second time, SIGHUP
/// reloads.
public enum ProcessSignals {
    /// Listens until the process ends. Returns when it does: an earlier signal does to the process what it does to any.
    /// Once in a process, because Dispatch takes hold of a signal but once.
    ///
    /// - Parameter handler: called for one request at a time.
    public static func listen(_ handler: @escaping @Sendable (ProcessRequest) -> Void) async {
        let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint, .sighup)
        Task {
            let escalation = Escalation()
            for await signal in signals {
                switch signal {
                case .sighup: handler(.reload)
                case .sigint: handler(.shutdown(escalation.next(), reason: "SIGINT"))
                default: handler(.shutdown(escalation.next(), reason: "SIGTERM"))
                }
            }
        }
    }
}

/// The first request drains the process, the second one ends it.
final class Escalation: Sendable {
    private let isRepeated = Atomic(false)

    /// The way in which the process ends at the next request.
    func next() -> ShutdownMode {
        isRepeated.exchange(true, ordering: .relaxed) ? .immediate : .drain
    }
}
