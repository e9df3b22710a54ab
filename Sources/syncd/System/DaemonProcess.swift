import Glibc
import IPC
import Logging
import NIOCore
import NIOPosix
import ProcessSupport
import Synchronization

/// The life cycle of the daemon: lock, table, journal, first heartbeat, listen; then requests of the administrator, and
/// an end without losing a reply.
struct DaemonProcess {
    let configuration: DaemonConfiguration
    let manager: ServiceManager
    /// Reads log level, limits and the times of probes and idleness again.
    let reload: () throws -> ReloadableSettings

    /// Maximum time of running requests at the end.
    private static let drainTime = Duration.milliseconds(500)

    private let logger = Logger(label: "syncd")

    func run() async throws {
        let paths = configuration.paths
        try paths.prepare()
        let (lock, tableLock) = (try RuntimeLock(paths.lock), try RuntimeLock(paths.tableLock))
        let (table, origin) = try TagTableFile.take(path: paths.table, slotBits: configuration.slotBits)
        warn(about: origin)
        let journal = try openJournal()
        // A socket that systemd passed is not removed by this process, now or at the end.
        if configuration.inheritedSocket == nil { try paths.removeStaleSocket() }

        // One thread runs the engine, the listener and all connections.
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let eventLoop = group.any()
        let (requests, request) = AsyncStream.makeStream(of: ProcessRequest.self)
        let isCut = Atomic(false)
        await ProcessSignals.listen {
            if case .shutdown(.immediate, _) = $0 { isCut.store(true, ordering: .relaxed) }
            request.yield($0)
        }
        let isTableLost = Atomic(false)
        let reportFile = ReportFile(path: paths.report, logger: logger)
        let tablePath = paths.table
        let daemon = try await eventLoop.submit { [configuration, manager, logger] in
            let daemon = Daemon(
                configuration: configuration, table: table.table, arena: Self.takeArena(configuration, logger),
                journal: journal, report: ReportFile.read(paths.report),
                ownsTable: { table.isFile(at: tablePath) && tableLock.isHeld },
                eventLoop: eventLoop, logger: logger)
            daemon.onShutdownAsked = { request.yield(.shutdown(.drain, reason: "SHUTDOWN")) }
            daemon.onTableLost = {
                isTableLost.store(true, ordering: .relaxed)
                request.yield(.shutdown(.immediate, reason: "the runtime directory is another one"))
            }
            daemon.onStateChanged = { manager.notify(.status($0.description)) }
            daemon.onReportDue = { record in Task { await reportFile.write(record) } }
            daemon.start()
            _ = Watchdog()?.start(on: eventLoop, manager: manager)
            return NIOLoopBound(daemon, eventLoop: eventLoop)
        }.get()
        let listener = try await Listener.listen(configuration, daemon: daemon, group: group)
        announceListening()

        let end = try await shutdownRequest(requests, daemon, on: eventLoop)
        if isTableLost.load(ordering: .relaxed) {
            // Nothing is closed or removed in an orderly way: another syncd's socket may be at the path by now.
            throw RuntimeDirectoryError(
                description:
                    "\(paths.directory), or the tag table in it: removed or replaced while syncd ran; a restart of syncd (and of syncd.socket, if it has one) makes everything anew",
                status: .temporaryFailure)
        }
        manager.notify(.stopping, .status("stopping"), isWaiting: true)

        // No client connects any more; connected clients get their replies. A listener of our own removes its path.
        try? await listener.close().get()
        try await eventLoop.submit { daemon.value.beginStop() }.get()
        if end == .drain { try await drain(daemon, on: eventLoop) { isCut.load(ordering: .relaxed) } }
        try await stop(daemon, on: eventLoop, reportFile)
        try await group.shutdownGracefully()
        withExtendedLifetime((lock, tableLock)) {}
    }

    private func stop(
        _ daemon: NIOLoopBound<Daemon>, on eventLoop: any EventLoop, _ reportFile: ReportFile
    ) async throws {
        let record = try await eventLoop.submit { daemon.value.reportRecord }.get()
        try await eventLoop.flatSubmit { daemon.value.stop() }.get()
        await reportFile.write(record)
    }

    private func announceListening() {
        logger.notice(
            "syncd listens",
            metadata: [
                "socket": "\(configuration.paths.socket)",
                "socket-activated": "\(configuration.inheritedSocket != nil)",
                "mode": "\(configuration.mode.rawValue)", "pid": "\(getpid())", "version": "\(Version.current)",
            ])
        manager.notify(.ready, isWaiting: true)
    }

    /// Reloads the settings as often as it is asked for, until syncd is to end.
    private func shutdownRequest(
        _ requests: AsyncStream<ProcessRequest>, _ daemon: NIOLoopBound<Daemon>, on eventLoop: any EventLoop
    ) async throws -> ShutdownMode {
        for await request in requests {
            guard case .shutdown(let mode, let reason) = request else {
                try await reloadSettings(daemon, on: eventLoop)
                continue
            }
            logger.notice("syncd is stopping", metadata: ["reason": "\(reason)", "mode": "\(mode.rawValue)"])
            return mode
        }
        return .drain
    }

    /// Waits until running requests are answered, for at most ``drainTime``.
    private func drain(
        _ daemon: NIOLoopBound<Daemon>, on eventLoop: any EventLoop, unless isCut: () -> Bool
    ) async throws {
        let deadline = ContinuousClock.now + Self.drainTime
        while !isCut(), ContinuousClock.now < deadline, try await eventLoop.submit({ daemon.value.isBusy }).get() {
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    /// An invalid configuration changes nothing.
    private func reloadSettings(_ daemon: NIOLoopBound<Daemon>, on eventLoop: any EventLoop) async throws {
        manager.notify(.reloadingNow, isWaiting: true)
        do {
            let settings = try reload()
            ProcessLog.setLevel(settings.logLevel)
            try await eventLoop.submit { daemon.value.adopt(settings.limits) }.get()
            logger.notice("configuration reloaded", metadata: ["log-level": "\(settings.logLevel)"])
        } catch {
            logger.error("the configuration was not reloaded", metadata: ["error": "\(error)"])
        }
        manager.notify(.ready, isWaiting: true)
    }

    private func warn(about origin: TagTableOrigin) {
        if case .replaced(let reason) = origin {
            logger.warning(
                "a new tag table is made: all caches of this host are cold", metadata: ["reason": "\(reason)"])
        }
        let unused = configuration.endpoint?.unusedParameters ?? []
        if !unused.isEmpty {
            logger.notice(
                "parameters in REDIS_URL have no effect", metadata: ["names": "\(unused.joined(separator: " "))"])
        }
        if configuration.isRedisURLIgnored {
            logger.warning("REDIS_URL has no effect, and this host shares nothing: set REDIS_ENABLED=true")
        }
    }

    /// The arena, as large as is configured or suits the machine.
    private static func takeArena(_ configuration: DaemonConfiguration, _ logger: Logger) -> ValueArenaWriter? {
        let paths = configuration.paths
        let wanted = configuration.cacheBytes ?? paths.suitableCacheBytes
        let (arena, notices) = ValueArenaFile.take(path: paths.arena, bytes: wanted)
        for notice in notices {
            switch notice {
            case .replaced(let reason):
                logger.notice("a new value arena is made: it is empty", metadata: ["reason": "\(reason)"])
            case .smaller(let bytes, let wanted, let error):
                let remedy =
                    error.isLackOfRoom ? "make room in the file system, or set SYNCD_CACHE_BYTES" : "see the error"
                logger.warning(
                    "the value arena is smaller than it should be: \(remedy)",
                    metadata: [
                        "bytes": "\(bytes)", "wanted": "\(wanted)", "path": "\(paths.arena)", "error": "\(error)",
                    ])
            }
        }
        return arena
    }

    private func openJournal() throws -> JournalDirectory {
        do {
            return try JournalDirectory(path: configuration.paths.journal)
        } catch {
            throw RuntimeDirectoryError(
                description:
                    "\(configuration.paths.journal): the journal directory cannot be used: \(error); make it writable, or set SYNCD_SOCKET to a path elsewhere",
                status: .configuration)
        }
    }
}
