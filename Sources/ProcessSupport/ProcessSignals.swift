import Dispatch
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

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
/// reloads. After ``cancel()``, the signals are ignored. Only one instance per process, since Dispatch accepts one
/// handler per signal.
public final class ProcessSignals: Sendable {
    private let sources: Mutex<[any DispatchSourceSignal]>

    /// Returns when the handlers are installed: earlier signals have their default effect.
    ///
    /// - Parameter handler: called on a separate queue, one request at a time.
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

/// The first request drains the process, the second one ends it.
final class Escalation: Sendable {
    private let isRepeated = Atomic(false)

    /// The way in which the process ends at the next request.
    func next() -> ShutdownMode {
        isRepeated.exchange(true, ordering: .relaxed) ? .immediate : .drain
    }
}
