import Dispatch
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

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
/// reloads. The signals are ignored when nobody listens any more. One in a process: Dispatch takes hold of a signal but
/// once.
public final class ProcessSignals: Sendable {
    private let sources: Mutex<[any DispatchSourceSignal]>

    /// Returns when it listens: what comes earlier does to the process what it does to any.
    ///
    /// - Parameter handler: called on a queue of its own, one request at a time.
    public init(_ handler: @escaping @Sendable (ProcessRequest) -> Void) {
        let queue = DispatchQueue(label: "signals")
        let escalation = Escalation()
        let requests: [(Int32, @Sendable () -> ProcessRequest)] = [
            (SIGTERM, { .shutdown(escalation.next(), reason: "SIGTERM") }),
            (SIGINT, { .shutdown(escalation.next(), reason: "SIGINT") }),
            (SIGHUP, { .reload }),
        ]
        let registered = DispatchGroup()
        sources = Mutex(
            requests.map { number, request in
                let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
                source.setEventHandler { handler(request()) }
                registered.enter()
                source.setRegistrationHandler { registered.leave() }
                source.resume()
                return source
            })
        registered.wait()
    }

    /// Ends the calls.
    public func cancel() {
        sources.withLock { sources in
            for source in sources {
                signal(Int32(source.handle), SIG_IGN)
                source.cancel()
            }
            sources = []
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
