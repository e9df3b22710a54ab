import IPC
import Logging
import NIOCore
import NIOPosix
import ProcessSupport
import ServiceLifecycle

/// A worker, composed of its parts.
struct Worker {
    private let services: [any Service]
    private let manager: ServiceManager
    private let eventLoop: any EventLoop
    private let logger: Logger

    /// - Throws: `DB_URL` can't be used.
    init(_ configuration: WorkerConfiguration, manager: ServiceManager, logger: Logger) throws(ConfigurationError) {
        let uri = try MongoURI.checked(configuration.databaseURL)
        uri.warn(logger)
        let pool: MongoClientPool
        do {
            pool = try MongoClientPool(uri)
        } catch {
            throw MongoURI.unusable(configuration.databaseURL, error)
        }
        // One thread serves the connections of clients and the one to syncd.
        eventLoop = MultiThreadedEventLoopGroup(numberOfThreads: 1).any()
        let (worker, executor) = (WorkerIdentity(), EventLoopExecutor(eventLoop))
        let limits = HTTPLimits(idleSeconds: configuration.idleSeconds, descriptors: DescriptorLimit.raised())
        self.manager = manager
        self.logger = logger
        let (operations, bodies) = (MongoOperations(pool: pool, eventLoop: eventLoop, logger: logger), PreparedBodies())
        let store = UserStore(operations: operations, bodyMade: bodies.prepare)
        let cache = SyncedCache(
            configuration: Self.cacheConfiguration(
                configuration, worker: worker, limits: limits, executor: executor, logger: logger),
            eventLoop: eventLoop, logger: logger)
        let (requests, connections) = (RequestMetrics(), OpenConnections(limit: limits.connections))
        // While no page listens, invalidation pushes are not needed: the table says which values are fresh.
        let streams = EventStreams { cache.notifiesInvalidations = $0 }
        let state = WorkerState(worker: worker, cache: cache, operations: operations)
        let metrics = SharedMetrics(
            own: WorkerMetrics(state: state, requests: requests, connections: connections, streams: streams),
            socketPath: configuration.socketPath, eventLoop: eventLoop)
        let responder = Responder(
            routes: Routes(
                users: CachedUsers(cache: cache, store: store), writes: UserWrites(cache: cache, store: store),
                state: state,
                host: HostState(
                    worker: worker, cache: cache, socketPath: configuration.socketPath, eventLoop: eventLoop),
                metrics: metrics, streams: streams, compressed: CompressedBodies(byteBudget: configuration.gzipBytes),
                bodies: bodies, bodyBytes: limits.bodyBytes),
            cors: CORSPolicy(origins: configuration.origins), hosts: AcceptedHosts(names: configuration.hosts),
            worker: worker, requests: requests, logger: logger)
        let server = HTTPServer(
            address: configuration.address, limits: limits, connections: connections, worker: worker,
            eventLoop: eventLoop, logger: logger, answering: responder.answering,
            onRejection: { requests.addRejection(statusCode: $0) },
            onListening: {
                logger.notice("Worker \(worker.text) started on port \($0)")
                manager.notify(.ready, isWaiting: true)
            })
        // Services stop in the opposite order: first streams end, then requests, last the connection to syncd.
        var services: [any Service] = [
            CacheConnection(cache: cache),
            EventFeed(cache: cache, streams: streams, worker: worker, logger: logger, executor: executor),
            FigureReports(metrics: metrics), ServiceStatus(cache: cache, manager: manager),
            DatabaseWatch(store: store, worker: worker, logger: logger), server,
            EventStreamKeeper(cache: cache, streams: streams),
        ]
        // A service that returns ends the process, so without syncd the service is left out.
        if let path = configuration.socketPath {
            services.append(SyncWatch(cache: cache, socketPath: path, logger: logger))
            if configuration.followsChanges {
                services.append(ChangeFollower(cache: cache, changes: UserChanges(pool: pool)))
            }
        }
        self.services = services
    }

    private static func cacheConfiguration(
        _ configuration: WorkerConfiguration, worker: WorkerIdentity, limits: HTTPLimits, executor: EventLoopExecutor,
        logger: Logger
    ) -> SyncedCacheConfiguration {
        SyncedCacheConfiguration(
            socketPath: configuration.socketPath, l1Bytes: configuration.l1Bytes,
            clientName: "apiworker-\(worker.text)",
            // The threads of the database are the limit. A request that waited here would not be answered in time.
            maximumConcurrentLoads: limits.connections, loadExecutor: executor,
            subscribedChannels: UserEvent.channels.map { ByteBuffer(string: $0) },
            grace: .seconds(configuration.graceSeconds), auditOneIn: configuration.auditOneIn,
            staleValueFound: { key in
                logger.warning("A cached value was not what the database holds", metadata: ["key": "\(key)"])
            })
    }

    /// Serves until SIGTERM or SIGINT. Then requests may finish; a second signal cuts them. Threads and connections
    /// stay: the end of one that waits for a silent database would have to be waited for.
    ///
    /// - Parameter reload: reads the log level again, for SIGHUP.
    func run(reload: @escaping @Sendable () throws(ConfigurationError) -> Logger.Level) async throws {
        let services = ServiceGroup(services: services, logger: logger)
        // A process that is told that the worker is ready may send it a signal.
        let (signalsAreHeard, begin) = AsyncStream<Never>.makeStream()
        let serving = Task {
            for await _ in signalsAreHeard {}
            try await services.run()
        }
        await ProcessSignals.listen { request in
            switch request {
            case .shutdown(.drain, let reason):
                logger.notice("Worker is stopping", metadata: ["reason": "\(reason)"])
                manager.notify(.stopping, .status("stopping: requests may finish"), isWaiting: true)
                Task { await services.triggerGracefulShutdown() }
            case .shutdown(.immediate, let reason):
                logger.notice("Worker is stopping at once", metadata: ["reason": "\(reason)"])
                serving.cancel()
            case .reload: self.reload(reload)
            }
        }
        begin.finish()
        let watchdog = Watchdog()?.start(on: eventLoop, manager: manager)
        do {
            try await serving.value
        } catch is CancellationError {
            // The second signal.
        }
        watchdog?.cancel()
    }

    /// An invalid configuration changes nothing.
    private func reload(_ read: () throws(ConfigurationError) -> Logger.Level) {
        manager.notify(.reloadingNow, isWaiting: true)
        do {
            let level = try read()
            ProcessLog.setLevel(level)
            logger.notice("Configuration reloaded", metadata: ["log-level": "\(level)"])
        } catch {
            logger.error("The configuration was not reloaded", metadata: ["error": "\(error)"])
        }
        manager.notify(.ready, isWaiting: true)
    }
}
