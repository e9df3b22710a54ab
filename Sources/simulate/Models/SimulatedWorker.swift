import IPC
import IPCWire
import Logging
import NIOCore
import NIOEmbedded

/// The real worker's side on a simulated machine: `SyncedCache` and everything below it, with a socket, a table, a
/// journal, a clock and random numbers of the simulation.
// Unchecked: everything in a simulation runs on its one thread.
final class SimulatedWorker: Reader, @unchecked Sendable {
    let number: Int
    private(set) var cache: SyncedCache?
    private let loop = EmbeddedEventLoop()
    private typealias Link = (channel: EmbeddedChannel, socket: Socket)
    private var link: Link?
    private var links = 0
    /// The connection of the reader of changes.
    private var feedLink: Link?
    private let database: Database
    @TaskLocal private static var isFeed = false
    private let plan: Plan
    private let oracle: Oracle

    init(host: Host, number: Int, name: String, oracle: Oracle, database: Database) {
        self.number = number
        self.database = database
        self.plan = host.plan
        self.oracle = oracle
        isTableUnreadable = plan.hasUnreadableTables && host.world.random.oneIn(2)
        super.init(host: host, name: name)
    }

    private static let logger: Logger = {
        var logger = Logger(label: "worker", factory: { _ in SwiftLogNoOpLogHandler() })
        logger.logLevel = .critical
        return logger
    }()

    /// Must be called as this process.
    func start() {
        var configuration = SyncedCacheConfiguration(
            socketPath: "/run/syncd/syncd.sock", clientName: name, maximumConcurrentLoads: plan.concurrentLoads,
            loadWait: .milliseconds(plan.waitMilliseconds), subscribedChannels: [ByteBuffer(string: "events")])
        if plan.hasCacheFeatures {
            configuration.ttlSpreadPercent = 20
            configuration.earlyRefreshPercent = 90
            configuration.grace = .seconds(20)
            configuration.graceAfter = .milliseconds(1)
            configuration.auditOneIn = 4
        }
        let cache = SyncedCache(
            configuration: configuration, eventLoop: loop, logger: Self.logger, platform: platform)
        self.cache = cache
        // Its connection gets no heartbeats: the table has them.
        if plan.hasQuietWorkers, number.isMultiple(of: 2) { cache.notifiesInvalidations = false }
        // Another worker's reader may be on the stack, stopped in the middle of its code.
        Task { await Self.$isFeed.withValue(false) { try? await cache.run() } }
        guard plan.hasFeed else { return }
        let changes = SimulatedChanges(database: database, worker: self)
        Task {
            await Self.$isFeed.withValue(true) {
                await cache.follow(changes, named: SimulatedChanges.name) { [oracle] change in
                    [oracle.names.reaching[change.key.flatMap(Int.init) ?? 0][1]]
                }
            }
        }
    }

    /// The worker may not map the table.
    let isTableUnreadable: Bool
    /// The journal directory that it has opened.
    private(set) var journal: MemoryJournal?
    private var loadEnds: [Int: BootTime] = [:]

    /// A load for this read begins: checks how long the read has waited for it.
    func loadBegan(_ read: Oracle.Read, _ key: Int) {
        // The read may have waited for a load of its key, or for its turn among all.
        let earlier = plan.concurrentLoads < 8 ? loadEnds.values.max() : loadEnds[key]
        let begin = max(read.begin, earlier ?? 0)
        if world.now >= begin { oracle.readTook(read, waited: world.now - begin, on: self) }
    }

    func loadEnded(_ key: Int) { loadEnds[key] = world.now }

    /// Number of clock reads until the worker is stopped.
    var clockCallsToPause: Int?

    /// Ends its connection to syncd.
    func hangUp() { world.run(self) { link?.channel.close(promise: nil) } }

    /// The number of its connection to syncd.
    var linkNumber: Int? { isConnected ? links : nil }

    /// Whether syncd accepts its requests.
    var isConnected: Bool { link?.channel.isActive ?? false }

    override func turnEnded() {
        loop.run()
        link = flushed(link)
        feedLink = flushed(feedLink)
    }

    /// Returns `nil` for a connection that has ended.
    private func flushed(_ link: Link?) -> Link? {
        guard let link else { return nil }
        // Reading from an embedded channel fails only for another type.
        while let bytes = try? link.channel.readOutbound(as: ByteBuffer.self) { link.socket.toServer.send(bytes) }
        guard !link.channel.isActive else { return link }
        link.socket.closeClient()
        return nil
    }

    override func died() {
        for link in [link, feedLink] { link?.socket.closeClient() }
        (link, feedLink) = (nil, nil)
    }

    // MARK: The machine

    private var platform: WorkerPlatform {
        WorkerPlatform(
            clock: WorkerClock(
                now: { [unowned self] in clockAsked() },
                sleep: { [unowned self] in try await sleep(until: $0) },
                schedule: { [unowned self] _, deadline, work in world.at(deadline, self, "timer") { work() } }),
            connect: { [unowned self] _, _, makeHandler in try await connect(makeHandler) },
            openTable: { [unowned self] _ in
                if isTableUnreadable { throw SystemError(code: 13) }
                let table = host.table
                return MappedTagTable(table) { [unowned self] _ in host.ownsTable(table) }
            },
            openArena: { [unowned self] _ in
                if isTableUnreadable { throw SystemError(code: 13) }
                guard let arena = host.arena else { throw SystemError.missing }
                return MappedArena(arena) { [unowned self] _ in host.ownsArena(arena) }
            },
            openJournal: { [unowned self] path in
                journal = nil
                let files = host.journal
                let opened = try WorkerJournal(
                    files, path: path, owner: JournalFileName.owner(random: world.random.next(), processID: 1))
                journal = files
                return opened
            },
            random: { [unowned self] in world.random.number($0) })
    }

    /// The time. At some of these calls, the process is stopped first.
    private func clockAsked() -> BootTime {
        if let count = clockCallsToPause {
            clockCallsToPause = count > 0 ? count - 1 : nil
            if count == 0, !world.areFaultsOver {
                oracle.figures.add("worker stopped between its loads")
                world.pause(self, for: world.random.number(1_000_000...300_000_000))
            }
        }
        if plan.pauses > 0, !world.areFaultsOver, world.current === self, world.random.oneIn(plan.pauses) {
            oracle.figures.add("worker stopped between its loads")
            world.pause(self, for: world.random.number(1_000_000...plan.longestStop))
        }
        return world.now
    }

    private func sleep(until deadline: BootTime) async throws {
        let sleeper = Sleeper()
        await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                guard !sleeper.isDone, !Task.isCancelled else { return continuation.resume() }
                sleeper.continuation = continuation
                world.at(deadline, self, "sleep ends") { sleeper.wake() }
            }
        } onCancel: {
            sleeper.wake()
        }
        try Task.checkCancellation()
    }

    // Unchecked: everything in a simulation runs on its one thread.
    private final class Sleeper: @unchecked Sendable {
        var continuation: UnsafeContinuation<Void, Never>?
        var isDone = false

        func wake() {
            isDone = true
            continuation?.resume()
            continuation = nil
        }
    }

    private struct ConnectionRefused: Error {}

    private func connect(_ makeHandler: @escaping @Sendable () -> any ChannelHandler) async throws -> any Channel {
        let isFeed = Self.isFeed
        return try await withUnsafeThrowingContinuation { (result: UnsafeContinuation<any Channel, any Error>) in
            world.after(world.random.number(10_000...200_000), self, "connect") { [self] in
                guard let server = host.listener else { return result.resume(throwing: ConnectionRefused()) }
                let socket = Socket(
                    world: world, client: self, server: server, plan: plan)
                socket.toClient.late = { [self] in oracle.figures.add("goal: heartbeat received late") }
                let channel = EmbeddedChannel(handler: makeHandler(), loop: loop)
                if isFeed {
                    feedLink = (channel, socket)
                } else {
                    link = (channel, socket)
                    links += 1
                }
                socket.toClient.deliver = { bytes in
                    // Errors end the channel, which `turnEnded` detects.
                    if channel.isActive { _ = try? channel.writeInbound(bytes) }
                }
                socket.toClient.ended = { channel.close(promise: nil) }
                server.connected(socket)
                do {
                    channel.connect(to: try SocketAddress(unixDomainSocketPath: "/s"), promise: nil)
                    result.resume(returning: channel)
                } catch {
                    result.resume(throwing: error)
                }
            }
        }
    }
}
