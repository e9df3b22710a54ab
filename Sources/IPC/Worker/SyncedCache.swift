import IPCWire
import Logging
import NIOCore

/// A worker's cache, kept consistent by syncd (docs/consistency.md). With Redis down, syncd down or both, reads and
/// writes continue without it.
///
/// The cache is useful only while ``run()`` is running.
public final class SyncedCache: Sendable {
    /// Maximum number of waiting notifications; beyond, the oldest are dropped. Freshness does not depend on them.
    static let maximumNotifications = 16_384

    let configuration: SyncedCacheConfiguration
    let session: SyncdSession
    let l1: L1Cache
    let shared: SharedValues
    /// `nil`: the auditor is off.
    let auditor: Auditor?
    let singleFlight = SingleFlight()
    let bypassLoads: BypassLoads
    let positions: AppliedPositions
    let slowLoads = SlowLoads()
    let platform: WorkerPlatform
    var clock: WorkerClock { platform.clock }
    let limits = WireLimits()
    let eventLoop: any EventLoop
    private let logger: Logger
    private let notify: AsyncStream<CacheNotification>.Continuation

    /// Every event of the subscribed channels and every invalidation, in syncd's order. For one consumer.
    public let notifications: AsyncStream<CacheNotification>

    /// Whether ``notifications`` has invalidations; initially true. If false, syncd does not send them, and a flood of
    /// invalidations costs a worker nothing. After a change to true, ``CacheNotification/tracking`` says from when on they
    /// come. Freshness does not depend on it.
    public var notifiesInvalidations: Bool {
        get { session.wantsInvalidations }
        set { session.wantsInvalidations = newValue }
    }

    /// A cache that is not connected yet. `eventLoop` carries the connection.
    public convenience init(configuration: SyncedCacheConfiguration, eventLoop: any EventLoop, logger: Logger) {
        self.init(configuration: configuration, eventLoop: eventLoop, logger: logger, platform: .system())
    }

    package init(
        configuration: SyncedCacheConfiguration, eventLoop: any EventLoop, logger: Logger, platform: WorkerPlatform
    ) {
        self.configuration = configuration
        self.eventLoop = eventLoop
        self.logger = logger
        self.platform = platform
        (notifications, notify) = AsyncStream.makeStream(
            bufferingPolicy: .bufferingNewest(Self.maximumNotifications))
        let sampling = Sampling(oneIn: configuration.auditOneIn, random: platform.random)
        let l1 = L1Cache(
            byteBudget: configuration.l1Bytes, sampling: sampling,
            graceNanoseconds: configuration.grace.wholeNanoseconds, refreshPercent: configuration.earlyRefreshPercent,
            now: platform.clock.now)
        self.l1 = l1
        auditor = sampling.map {
            Auditor(sampling: $0, l1: l1, clock: platform.clock, found: configuration.staleValueFound)
        }
        bypassLoads = BypassLoads(
            limit: configuration.maximumConcurrentLoads, executor: configuration.loadExecutor)
        positions = AppliedPositions(l1: l1, clock: platform.clock, executor: configuration.loadExecutor)
        shared = SharedValues(l1: l1, auditor: auditor, now: platform.clock.now)
        session = SyncdSession(
            l1: l1, shared: shared, auditor: auditor, eventLoop: eventLoop, platform: platform, logger: logger,
            notify: notify)
        if let path = configuration.socketPath {
            session.useJournal(at: RuntimeDirectory.journal(socketPath: path), isConfirmed: false)
            session.expectTable(at: RuntimeDirectory.tagTable(socketPath: path))
        }
    }

    /// Connects, and connects again whenever the connection ends, until the task is cancelled. Then closes the
    /// connection, ends ``notifications`` and returns.
    public func run() async throws {
        defer {
            auditor?.end()
            session.unsettled.end()
            notify.finish()
        }
        guard let path = configuration.socketPath else { return await untilCancelled() }
        let settings = ConnectionSettings(
            clientName: configuration.clientName, isTracking: true, channels: configuration.subscribedChannels)
        let makeHandler: @Sendable () -> any ChannelHandler = { [clock, session] in
            ConnectionHandler(settings: settings, clock: clock, observer: session)
        }
        var backoff = Backoff()
        while !Task.isCancelled {
            let generation = session.current.generation
            do {
                let channel = try await platform.connect(path, eventLoop, makeHandler)
                try await withTaskCancellationHandler {
                    try await channel.closeFuture.get()
                } onCancel: {
                    channel.close(promise: nil)
                }
            } catch {
                logger.trace("syncd can't be reached", metadata: ["socket": "\(path)", "error": "\(error)"])
            }
            if session.current.generation > generation { backoff.reset() }
            try? await clock.sleep(clock.now() + backoff.next(platform.random))
        }
    }

    private func untilCancelled() async {
        while !Task.isCancelled { try? await Task.sleep(for: .seconds(3600)) }
    }

    /// The present state of the cache.
    public var status: CacheStatus { session.status }

    /// Number of callers that wait for another request's load, for their turn, or for a position.
    package var waitingCount: Int {
        singleFlight.waitingCount + bypassLoads.waitingCount + positions.waitingCount
    }

    /// Sets the application's values that syncd shows in STATUS for this client, replacing earlier ones. They are sent
    /// once a second, together with those of L1.
    public func report(_ fields: [ReportField]) { session.report(fields) }

    /// Gives syncd the metrics of this worker, for everybody who asks it for those of the host (docs/protocol.md,
    /// "Metrics"). They are kept while the connection lasts.
    ///
    /// - Parameters:
    ///   - text: in the text format of Prometheus, at most 256 KiB, without a label `worker`.
    ///   - worker: the name that is wanted: at most 64 ASCII letters, digits, `-`, `.` and `_`; empty: any.
    /// - Returns: the name that this worker has in the host's metrics; `nil`: syncd did not take them.
    public func report(metrics text: ByteBuffer, as worker: String) async -> String? {
        guard let connection = session.current.connection else { return nil }
        let request = Request.setMetrics(worker: ByteBuffer(string: worker), text: text)
        guard
            case .success(.bulkString(let name)) = await connection.request(
                request, cost: RequestCost(bytes: text.readableBytes))
        else { return nil }
        return String(buffer: name)
    }
}
