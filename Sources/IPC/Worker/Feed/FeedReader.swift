import IPCWire
import Logging
import NIOCore
import Synchronization

/// Asks for the role of a feed's reader, and carries changes from the source to syncd while it has the role.
struct FeedReader: Sendable {
    let source: any ChangeSource
    let name: ByteBuffer
    let tags: @Sendable (DocumentChange) -> [CacheTag]
    let clock: WorkerClock
    let troubles: FeedTroubles

    /// Interval at which a waiting reader asks for the role, and pause after a failure.
    static let pauseNanoseconds: UInt64 = 1_000_000_000
    /// Pause before a save that the log did not accept is sent again.
    private static let retryNanoseconds: UInt64 = 100_000_000
    /// Interval at which a database that has no changes to offer is asked again.
    private static let unavailableNanoseconds: UInt64 = 60_000_000_000
    /// Changes in one save.
    private static let changesPerSave = 512
    /// A change with more tags than this changes everything.
    private static let maximumTags = WireLimits().tagsPerEntry

    /// Why reading has ended.
    private enum End: Error {
        /// Another client has the role, or should have it.
        case roleLost
    }

    /// Until the connection or the task ends.
    func run(over client: SyncdClient) async throws {
        while !Task.isCancelled {
            var pause = Self.pauseNanoseconds
            if case .tail(let token) = try FeedRole(await client.request(.feed(.claim(name: name)))) {
                do {
                    try await read(after: token, over: client)
                } catch End.roleLost {
                } catch let failure as ChangeSourceFailure {
                    troubles.say(failure)
                    _ = try await client.request(.feed(.leave(name: name)))
                    if case .unavailable = failure { pause = Self.unavailableNanoseconds }
                }
            }
            try await clock.sleep(clock.now() + pause)
        }
    }

    /// Reads behind a token (`nil`: nothing is known of the changes so far), and each time when the source's history ends,
    /// from then on.
    private func read(after known: ByteBuffer?, over client: SyncdClient) async throws {
        var known = known
        while true {
            do {
                try await readOnce(after: known, over: client)
            } catch ChangeSourceFailure.historyLost(let why) {
                troubles.historyLost(why)
                known = nil
            }
        }
    }

    private func readOnce(after known: ByteBuffer?, over client: SyncdClient) async throws {
        let (cursor, first) = try await source.open(after: known)
        do {
            // Everything before the token is invalidated, and not before the source is open: nothing falls in between.
            if known == nil { try await settle(.reset(name: name, token: first), over: client) }
            troubles.end()
            var token = known ?? first
            while true {
                try Task.checkCancellation()
                let batch = try await cursor.next()
                try await save(batch, behind: token, over: client)
                token = batch.token
                if batch.isEnd { throw ChangeSourceFailure.historyLost("the collection was dropped or renamed") }
            }
        } catch {
            await cursor.close()
            throw error
        }
    }

    /// - Parameter token: the one of the batch before: it stays until the whole batch is in the log.
    private func save(_ batch: ChangeBatch, behind token: ByteBuffer, over client: SyncdClient) async throws {
        var changes = batch.changes.compactMap { change -> FeedChange? in
            var tags = tags(change)
            if tags.isEmpty { return nil }
            if tags.count > Self.maximumTags { tags = [.everything] }
            return FeedChange(
                collection: ByteBuffer(string: change.collection), time: change.time, tags: tags.map(\.bytes))
        }[...]
        let lag = batch.lag.wholeNanoseconds / 1_000_000
        repeat {
            let part = Array(changes.prefix(Self.changesPerSave))
            changes = changes.dropFirst(part.count)
            let save = FeedSave(
                name: name, token: changes.isEmpty ? batch.token : token, lagMilliseconds: lag, changes: part)
            try await settle(.save(save), over: client)
        } while !changes.isEmpty
    }

    /// Repeats a request until the log has accepted it.
    private func settle(_ request: FeedRequest, over client: SyncdClient) async throws {
        while case .error(let text) = try await client.request(.feed(request)) {
            let error = ReplyError(text)
            switch error.code {
            case .noRole: throw End.roleLost
            case .isolated, .busy: try await clock.sleep(clock.now() + Self.retryNanoseconds)
            default: throw error
            }
        }
    }
}

/// What goes wrong with a source, for the log: once, until it works again.
final class FeedTroubles: Sendable {
    private let said = Mutex<ChangeSourceFailure?>(nil)
    private let logger: Logger

    init(logger: Logger) { self.logger = logger }

    func say(_ failure: ChangeSourceFailure) {
        let isNews = said.withLock { said in
            defer { said = failure }
            return said != failure
        }
        guard isNews else { return }
        switch failure {
        case .unavailable(let why):
            logger.warning(
                "The database has no change stream: a write by a program that does not invalidate is noticed when the time to live ends",
                metadata: ["why": "\(why)"])
        case .interrupted(let why), .historyLost(let why):
            logger.notice("The change stream of the database is interrupted", metadata: ["why": "\(why)"])
        }
    }

    func historyLost(_ why: String) {
        logger.notice(
            "The database's changes since the last known one are lost: everything is invalidated",
            metadata: ["why": "\(why)"])
    }

    func end() { said.withLock { $0 = nil } }
}
