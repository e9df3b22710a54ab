import IPCWire
import NIOCore
import NIOPosix

/// The reason why syncd could not be queried.
package enum SyncdClientError: Error, Sendable, Equatable, CustomStringConvertible {
    /// No process listens on the socket, or the permission is missing.
    case unreachable(path: String, reason: String)
    /// A process listens there, but it is no syncd, or it closed the connection at once.
    case notGreeted(path: String)
    /// The connection ended, or no answer came in time.
    case unanswered

    /// A short name for metrics.
    package var label: String {
        switch self {
        case .unreachable: "unreachable"
        case .notGreeted: "not-greeted"
        case .unanswered: "unanswered"
        }
    }

    /// The fault and its remedy.
    package var description: String {
        switch self {
        case .unreachable(let path, let reason):
            "syncd can't be reached on \(path): \(reason); check that it runs, that this is its socket (SYNCD_SOCKET), and that you may use it"
        case .notGreeted(let path):
            "what listens on \(path) did not greet as syncd does: it is stopped, hangs, has no room for more clients, or is another program"
        case .unanswered: "syncd closed the connection or didn't answer in time"
        }
    }
}

/// A plain client of syncd for the command line: one connection, no cache, no reconnecting.
package final class SyncdClient: Sendable {
    /// Maximum number of waiting pushes; beyond, the oldest are dropped.
    static let maximumPushes = 65_536

    /// syncd's greeting.
    package let greeting: Greeting
    /// Pushes, once `TRACK` or `SUBSCRIBE` was sent. Ends with the connection.
    package let pushes: AsyncStream<Push>
    private let connection: SyncdConnection

    private init(greeting: Greeting, pushes: AsyncStream<Push>, connection: SyncdConnection) {
        self.greeting = greeting
        self.pushes = pushes
        self.connection = connection
    }

    deinit { connection.close() }

    /// Connects and greets.
    ///
    /// - Parameters:
    ///   - path: of syncd's socket, at most 103 bytes.
    ///   - name: as which this client is shown in STATUS.
    ///   - timeout: how long the greeting and each answer may take.
    ///   - eventLoop: the one that carries the connection.
    ///   - platform: its sockets and its clock.
    package static func connect(
        path: String, name: String = "syncd-cli", timeout: Duration = .seconds(5),
        eventLoop: any EventLoop = MultiThreadedEventLoopGroup.singleton.any(), platform: WorkerPlatform = .system()
    ) async throws(SyncdClientError) -> SyncdClient {
        var settings = ConnectionSettings(clientName: name, isTracking: false)
        settings.replyNanoseconds = max(.seconds(1), timeout).wholeNanoseconds
        let (pushes, notify) = AsyncStream.makeStream(
            of: Push.self, bufferingPolicy: .bufferingNewest(maximumPushes))
        let observer = ClientObserver(notify: notify)
        do {
            _ = try await platform.connect(path, eventLoop) { [settings, clock = platform.clock] in
                ConnectionHandler(settings: settings, clock: clock, observer: observer)
            }
        } catch {
            throw .unreachable(path: path, reason: SystemError.text(of: error))
        }
        guard let (connection, greeting) = try? await observer.greeted.value() else {
            throw .notGreeted(path: path)
        }
        return SyncdClient(greeting: greeting, pushes: pushes, connection: connection)
    }

    /// Sends one request. An error reply is returned as a value; for subscriptions, `OK` when all are confirmed.
    package func request(_ request: Request) async throws(SyncdClientError) -> RESPValue {
        let kind: ReplyKind =
            switch request {
            case .subscribe(let channels), .patternSubscribe(let channels): .confirmations(channels.count)
            default: .reply
            }
        switch await connection.request(request, as: kind, cost: RequestCost(isUrgent: true)) {
        case .success(let value): return value
        case .failure: throw .unanswered
        }
    }

    /// The metrics of all workers; `nil`: syncd is of a version that does not have them.
    package func metrics() async throws -> [ReportedMetrics]? {
        let value = try await request(.metrics)
        if case .error = value { return nil }
        return try ReportedMetrics.decode(value)
    }

    /// Ends the connection.
    package func close() { connection.close() }
}

/// Waits for the greeting and forwards pushes.
private final class ClientObserver: ConnectionObserver {
    let greeted = SharedTask<(SyncdConnection, Greeting)?>()
    private let notify: AsyncStream<Push>.Continuation

    init(notify: AsyncStream<Push>.Continuation) { self.notify = notify }

    var tableHeartbeat: BootTime? { nil }

    func becameReady(_ connection: SyncdConnection, greeting: Greeting) { greeted.finish((connection, greeting)) }

    func received(_ push: Push) { notify.yield(push) }

    func closed(_ connection: SyncdConnection, reason: CloseReason) {
        greeted.finish(nil)
        notify.finish()
    }
}
