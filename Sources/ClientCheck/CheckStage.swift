import IPC
import IPCTesting
import IPCWire
import NIOCore
import Synchronization

/// A rule that the client breaks, and the observation that shows it.
package struct BrokenRule: Error, CustomStringConvertible {
    package var description: String
    init(_ description: String) { self.description = description }
}

/// Traits of the client, as observed.
package struct ClientTraits: Sendable, Hashable {
    /// The client speaks RESP3.
    var isModern = false
    /// The client sends WAIT.
    var waits = false
    /// The client answers a second request for a value without asking anybody.
    var keepsValues = false
    /// The client has mapped the tag table.
    var mapsTable = false
    /// The client finds values in the value arena.
    var readsArena = false

    /// The client learns of invalidations by pushes alone, which need their time.
    var isToldByPushes: Bool { keepsValues && !mapsTable }

    var summary: String {
        let keeping =
            keepsValues ? mapsTable ? "keeps values by the mapped table" : "keeps values by pushes" : "keeps no values"
        let waiting = waits ? "waits for loads of others" : "does not wait for loads of others"
        let sharing = readsArena ? ", and finds those of others in shared memory" : ""
        return "speaks \(isModern ? "RESP3" : "RESP2"), \(waiting), \(keeping)\(sharing)"
    }
}

/// The environment of one check: a scripted syncd, a scripted database, and the client between them.
package final class CheckStage: Sendable {
    /// Starts the client in this environment; the path is that of its standard error.
    package typealias Launch =
        @Sendable (_ environment: [String: String], _ errorPath: String) async throws -> any CheckedClient

    let syncd: ScriptedSyncd
    let database = ScriptedDatabase()
    let client: any CheckedClient
    let traits: ClientTraits
    private let folder: ScratchFolder
    private let databaseListener: any Channel

    init(_ launch: Launch, traits: ClientTraits) async throws {
        self.traits = traits
        folder = try ScratchFolder()
        syncd = try ScriptedSyncd(folder: folder.path)
        // The rules are those of a client without the table: unanswered writes wait for a whole trust window.
        syncd.setPulse { $0.showsReadings = false }
        try await syncd.start()
        databaseListener = try await database.listen(path: folder.path + "/database.sock")
        client = try await launch(
            ["SYNCD_SOCKET": syncd.socketPath, "DATABASE_SOCKET": folder.path + "/database.sock"],
            folder.path + "/errors")
    }

    func end() async {
        await client.end()
        await syncd.stop()
        try? await databaseListener.close().get()
    }

    // MARK: Asking the client

    /// The client's answer for a key.
    @discardableResult
    func read(_ key: String) async throws -> String {
        switch try await client.ask(.load, key) {
        case .value(let value, _): return value
        case .error(let text): throw BrokenRule("reading \(key) ended in an error: \(text)")
        }
    }

    /// Reads a key and measures the time.
    func timedRead(_ key: String) async throws -> (value: String, time: Duration) {
        let start = ContinuousClock.now
        let value = try await read(key)
        return (value, ContinuousClock.now - start)
    }

    @discardableResult
    func write(_ key: String) async throws -> String {
        switch try await client.ask(.write, key) {
        case .value(let value, _): return value
        case .error(let text): throw BrokenRule("writing \(key) ended in an error: \(text)")
        }
    }

    /// Reads until syncd is asked and its answer used: from then on the client is connected.
    func waitUntilConnected() async throws {
        try await until("it asks syncd for a value (FETCH) within 15 s", within: .seconds(15)) {
            try await read("warm-up")
            return syncd.fetches("warm-up") > 0
        }
    }

    /// Lets the client load a value of the database under a lease, and store it if it stores values.
    ///
    /// - Returns: the tags that a change of the value invalidates.
    func load(_ key: String, _ value: Int) async throws -> [CacheTag] {
        database.set(key, value)
        try expect(try await read(key), "\(value)", "a value that was loaded under a lease")
        guard let fill = syncd.fills(key).last else {
            throw BrokenRule("it loaded \(key) under a lease and did not FILL it")
        }
        return fill.tags.isEmpty ? ["=\(key)"] : fill.tags.map(CacheTag.init)
    }

    /// Fails unless the client now answers the present value: at once, or, if it relies on pushes alone, after the time
    /// of a frame.
    func expectFresh(_ key: String, _ value: Int, _ what: String) async throws {
        let deadline = ContinuousClock.now + (traits.isToldByPushes ? Self.frameTime : .zero)
        var answer = try await read(key)
        while answer != "\(value)", ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(5))
            answer = try await read(key)
        }
        try expect(answer, "\(value)", what)
    }

    // MARK: Judging

    /// Time for a push: much more than it needs, even on a busy machine.
    static let frameTime = Duration.milliseconds(500)
    /// Tolerance for measured times on a busy machine.
    static let tolerance = Duration.milliseconds(400)

    func expect(_ condition: Bool, _ failure: @autoclosure () -> String) throws {
        if !condition { throw BrokenRule(failure()) }
    }

    func expect(_ answer: String, _ wanted: String, _ what: String) throws {
        if answer != wanted { throw BrokenRule("\(what): it answered \(answer) instead of \(wanted)") }
    }

    /// Waits for a condition; fails with "it should have been that …".
    func until(
        _ what: String, within limit: Duration = .seconds(5), _ condition: () async throws -> Bool
    ) async throws {
        let deadline = ContinuousClock.now + limit
        while try await !condition() {
            guard ContinuousClock.now < deadline else { throw BrokenRule("this did not happen: \(what)") }
            try await Task.sleep(for: .milliseconds(2))
        }
    }

    // MARK: The journal

    /// The files of this kind in the journal directory.
    func journalFiles(_ kind: JournalFile.Kind) throws -> [JournalFile] {
        try syncd.journal.scan().filter { $0.kind == kind }
    }

    /// The tags in a journal file; `nil` if it is incomplete.
    func tags(_ file: JournalFile) -> [CacheTag]? {
        guard let bytes = SystemFiles.read("\(syncd.journal.path)/\(file.name)") else { return nil }
        var decoder = CommandDecoder(limits: WireLimits())
        decoder.feed(ByteBuffer(bytes: bytes))
        return try? decoder.next()?.map(CacheTag.init)
    }
}
