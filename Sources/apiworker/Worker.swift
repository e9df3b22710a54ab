import IPC
import Logging
import NIOCore
import NIOPosix
import ProcessSupport
import ServiceLifecycle

/// A worker: its parts, put together.
struct Worker {
    private let services: [any Service]
    private let operations: MongoOperations
    private let group: MultiThreadedEventLoopGroup
    private let logger: Logger

    /// - Throws: `DB_URL` can't be used.
    init(_ configuration: WorkerConfiguration, logger: Logger) throws(ConfigurationError) {
        guard let uri = MongoURI(configuration.databaseURL), let pool = MongoClientPool(uri) else {
            throw ConfigurationError(
                WorkerConfiguration.databaseKey, value: configuration.databaseURL, problem: "is no connection string",
                remedy: "give mongodb://host:port/database")
        }
        // One thread: connections of clients and the one to syncd live on it.
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let eventLoop = group.any()
        let worker = WorkerIdentity()
        let limits = HTTPLimits()
        self.logger = logger
        operations = MongoOperations(pool: pool, eventLoop: eventLoop, logger: logger)
        let store = UserStore(operations: operations)
        let cache = SyncedCache(
            configuration: SyncedCacheConfiguration(
                socketPath: configuration.socketPath, l1Bytes: configuration.l1Bytes,
                clientName: "apiworker-\(worker.text)",
                // The threads of the database are the bound. Whoever waited here would not be answered in time.
                maximumConcurrentLoads: limits.connections,
                subscribedChannels: UserEvent.channels.map { ByteBuffer(string: $0) }),
            eventLoop: eventLoop, logger: logger)
        let requests = RequestCount()
        let responder = Responder(
            routes: Routes(
                users: CachedUsers(cache: cache, store: store), writes: UserWrites(cache: cache, store: store),
                state: WorkerState(worker: worker, cache: cache, operations: operations), bodyBytes: limits.bodyBytes),
            cors: CORSPolicy(origins: configuration.origins), worker: worker, requests: requests, logger: logger)
        let server = HTTPServer(
            address: .host(configuration.host, port: configuration.port), limits: limits, worker: worker,
            eventLoop: eventLoop, logger: logger, respond: { request, _ in await responder.respond(to: request) },
            onListening: { logger.notice("Worker \(worker.text) started on port \($0)") })
        // They are stopped in the opposite order: first no more requests, last the connection to syncd.
        services = [
            CacheConnection(cache: cache), EventLog(cache: cache, worker: worker, logger: logger),
            FigureReports(cache: cache, requests: requests),
            DatabaseWatch(store: store, worker: worker, logger: logger), server,
        ]
    }

    /// Serves until SIGTERM or SIGINT.
    func run() async throws {
        let services = ServiceGroup(
            services: services, gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
        try await services.run()
        await operations.shutDown()
        try await group.shutdownGracefully()
    }
}
