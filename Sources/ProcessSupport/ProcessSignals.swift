import Synchronization
import UnixSignals

/// How a process ends when it is asked to.
public enum ShutdownMode: String, Sendable, Hashable {
    /// Nothing new is taken; what is under way is finished, within a limit.
    case drain
    /// Whatever is under way is cut.
    case immediate
}

/// What an administrator wants of a running process.
public enum ProcessRequest: Sendable, Hashable {
    /// The end. `reason` is the name of the signal or command.
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

/// Asked once, a process drains; asked again, it ends.
final class Escalation: Sendable {
    private let isRepeated = Atomic(false)

    /// How the process ends when it is asked now.
    func next() -> ShutdownMode {
        isRepeated.exchange(true, ordering: .relaxed) ? .immediate : .drain
    }
}
