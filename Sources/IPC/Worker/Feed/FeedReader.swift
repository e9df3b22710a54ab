import IPCWire
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
    /// Pause before a save that the log did not accept is sent again, and before a lost role is asked for.
    private static let retryNanoseconds: UInt64 = 100_000_000
    /// Interval at which a database that has no changes to offer is asked again.
    private static let unavailableNanoseconds: UInt64 = 10_000_000_000
    /// Changes in one save: few enough for each limit that an operator may set.
    private static let changesPerSave = 128
    /// A change with more tags than this, or a longer one, changes everything.
    private static let maximumTags = 8
    private static let maximumTagBytes = WireLimits().tagBytes
    /// An open source that fails as often as this without a new token will fail for ever.
    private static let maximumFailures = 10
    /// A first reading that fails after this time would take as long again: the server looks through its log for changes
    /// behind the token, and the log has many of other collections.
    private static let longestFirstReading: UInt64 = 4_000_000_000
    /// The role lasts longer than this without a word.
    private static let silenceNanoseconds: UInt64 = 1_500_000_000

    /// Why reading has ended.
    private enum End: Error {
        /// Another client has the role, or should have it.
        case roleLost
    }

    /// Until the connection or the task ends.
    func run(over client: SyncdClient) async throws {
        while !Task.isCancelled {
            var pause = Self.pauseNanoseconds
            let reply = try await client.request(.feed(.claim(name: name)))
            if case .error(let text) = reply {
                troubles.say(.interrupted("syncd refuses a reader: \(ReplyError(text).message)"))
            } else if case .tail(let token) = try FeedRole(reply) {
                do {
                    try await read(after: token, over: client)
                } catch End.roleLost {
                    // After an outage nobody has it.
                    pause = Self.retryNanoseconds
                } catch let failure as ChangeSourceFailure {
                    troubles.say(failure)
                    if case .unavailable = failure {
                        pause = Self.unavailableNanoseconds
                        troubles.hasGap = true
                    }
                    _ = try await client.request(.feed(.leave(name: name)))
                }
            }
            try await clock.sleep(clock.now() + pause)
        }
    }

    /// Reads behind a token (`nil`: nothing is known of the changes so far), and each time when the source's history ends,
    /// from then on.
    private func read(after known: ByteBuffer?, over client: SyncdClient) async throws {
        // A database that had no changes to offer may have changed meanwhile.
        var known = troubles.hasGap ? nil : known
        while true {
            do {
                try await readKeepingRole(after: known, over: client)
            } catch ChangeSourceFailure.historyLost(let why) {
                troubles.say(.historyLost(why))
                known = nil
                // If the role is lost before the reset, this reader does not read on behind the same token later.
                troubles.hasGap = true
                // A source or a syncd that refuses every attempt must not be asked without a pause.
                try await clock.sleep(clock.now() + Self.pauseNanoseconds)
            }
        }
    }

    private func readKeepingRole(after known: ByteBuffer?, over client: SyncdClient) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await readOnce(after: known, over: client) }
            group.addTask { try await keepRole(over: client) }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    /// Renews the role while there is nothing to save. If it is lost, the next save says so.
    private func keepRole(over client: SyncdClient) async throws {
        while true {
            try await clock.sleep(clock.now() + Self.silenceNanoseconds)
            guard clock.now() >= troubles.lastSave.saturatingAdd(Self.silenceNanoseconds) else { continue }
            _ = try await client.request(.feed(.claim(name: name)))
        }
    }

    private func readOnce(after known: ByteBuffer?, over client: SyncdClient) async throws {
        let (cursor, first) = try await source.open(after: known)
        do {
            // Everything before the token is invalidated, and not before the source is open: nothing falls in between.
            if known == nil {
                try await settle(.reset(name: name, token: first), over: client)
                troubles.hasGap = false
            }
            troubles.end()
            var token = known ?? first
            var isFirst = true
            while true {
                try Task.checkCancellation()
                let batch = try await next(of: cursor, behind: token, isFirst: isFirst)
                isFirst = false
                try await save(batch, behind: token, over: client)
                token = batch.token
                if batch.isEnd { throw ChangeSourceFailure.historyLost("the collection was dropped or renamed") }
            }
        } catch {
            await cursor.close()
            throw error
        }
    }

    /// - Throws: lost history instead of one more interruption, if there were too many at this token.
    private func next(
        of cursor: ChangeCursor, behind token: ByteBuffer, isFirst: Bool
    ) async throws(ChangeSourceFailure) -> ChangeBatch {
        let began = clock.now()
        do throws(ChangeSourceFailure) {
            return try await cursor.next()
        } catch {
            guard case .interrupted(let why) = error else { throw error }
            let isTooLong = isFirst && clock.now() >= began.saturatingAdd(Self.longestFirstReading)
            guard troubles.failed(at: token) >= Self.maximumFailures || isTooLong else { throw error }
            throw .historyLost("it cannot be read on: \(why)")
        }
    }

    /// - Parameter token: the one of the batch before: it stays until the whole batch is in the log.
    private func save(_ batch: ChangeBatch, behind token: ByteBuffer, over client: SyncdClient) async throws {
        var changes = batch.changes.compactMap { change -> FeedChange? in
            var tags = tags(change)
            if tags.isEmpty { return nil }
            let isSavable = tags.allSatisfy { (1...Self.maximumTagBytes).contains($0.bytes.readableBytes) }
            if tags.count > Self.maximumTags || !isSavable { tags = [.everything] }
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
        while true {
            troubles.lastSave = clock.now()
            guard case .error(let text) = try await client.request(.feed(request)) else { return }
            let error = ReplyError(text)
            switch error.code {
            case .noRole: throw End.roleLost
            case .isolated, .busy: try await clock.sleep(clock.now() + Self.retryNanoseconds)
            // The same save would be refused again: everything behind this token counts as unknown.
            default: throw ChangeSourceFailure.historyLost("syncd refuses a save: \(error.message)")
            }
        }
    }
}

/// Tells of troubles with a source: once, until the source works again.
final class FeedTroubles: Sendable {
    private let said = Mutex<Int?>(nil)
    private let failures = Mutex<(token: ByteBuffer?, count: Int)>((nil, 0))
    private let saved = Mutex<BootTime>(0)
    private let gap = Mutex(false)
    private let tell: @Sendable (ChangeSourceFailure) -> Void

    init(_ tell: @escaping @Sendable (ChangeSourceFailure) -> Void) { self.tell = tell }

    func say(_ failure: ChangeSourceFailure) {
        let isNews = said.withLock { said in
            defer { said = failure.kind }
            return said != failure.kind
        }
        if isNews { tell(failure) }
    }

    /// The source had no changes to offer, or has lost some, and everything has not been invalidated since.
    var hasGap: Bool {
        get { gap.withLock { $0 } }
        set { gap.withLock { $0 = newValue } }
    }

    /// When syncd was sent something last.
    var lastSave: BootTime {
        get { saved.withLock { $0 } }
        set { saved.withLock { $0 = newValue } }
    }

    func end() { said.withLock { $0 = nil } }

    /// Reading has failed behind a token. Returns how often that has happened there, one time after the other.
    func failed(at token: ByteBuffer) -> Int {
        failures.withLock { failures in
            failures = (token, failures.token == token ? failures.count + 1 : 1)
            return failures.count
        }
    }
}

extension ChangeSourceFailure {
    /// A number for each kind, whatever its text: texts may change with each attempt.
    fileprivate var kind: Int {
        switch self {
        case .interrupted: 0
        case .historyLost: 1
        case .unavailable: 2
        }
    }
}
