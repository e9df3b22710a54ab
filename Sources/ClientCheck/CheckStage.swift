import IPC
import IPCTesting
import IPCWire
import NIOCore
import Synchronization

/// A rule that the client breaks, and how that showed.
package struct BrokenRule: Error, CustomStringConvertible {
    package var description: String
    init(_ description: String) { self.description = description }
}

/// What kind of client it is, as it showed by itself.
package struct ClientTraits: Sendable, Hashable {
    /// It speaks RESP3.
    var isModern = false
    /// It asks with WAIT.
    var waits = false
    /// It answers a second question for a value without asking anybody.
    var keepsValues = false
    /// It has mapped the tag table.
    var mapsTable = false
    /// It has said TRACK ON.
    var tracks = false

    /// It is told by pushes alone, which need their time.
    var isToldByPushes: Bool { keepsValues && !mapsTable }

    var summary: String {
        let keeping =
            keepsValues ? mapsTable ? "keeps values by the mapped table" : "keeps values by pushes" : "keeps no values"
        let waiting = waits ? "waits for loads of others" : "does not wait for loads of others"
        return "speaks \(isModern ? "RESP3" : "RESP2"), \(waiting), \(keeping)"
    }
}

/// Where one check takes place: a scripted syncd, a scripted database, and the client between them.
package final class CheckStage: Sendable {
    /// Starts the client in this environment; the path is for what it writes on standard error.
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

    /// What it answers for a key.
    @discardableResult
    func read(_ key: String) async throws -> String {
        switch try await client.ask(.load, key) {
        case .value(let value, _): return value
        case .error(let text): throw BrokenRule("reading \(key) ended in an error: \(text)")
        }
    }

    /// Reads a key and measures that.
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

    /// Lets the client take a value of the database under a lease, and keep it if it keeps values.
    ///
    /// - Returns: what a change of the value invalidates.
    func load(_ key: String, _ value: Int) async throws -> [ByteBuffer] {
        database.set(key, value)
        try expect(try await read(key), "\(value)", "a value that was loaded under a lease")
        guard let fill = syncd.fills(key).last else {
            throw BrokenRule("it loaded \(key) under a lease and did not FILL it")
        }
        return fill.tags.isEmpty ? [ByteBuffer(string: "=" + key)] : fill.tags
    }

    /// Fails unless the client now answers the present value: at once, or, told by pushes alone, as soon as a frame
    /// has had its time.
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

    /// A push needs less, by far, on any machine that is not on its knees.
    static let frameTime = Duration.milliseconds(500)
    /// What a busy machine may add to a time that is measured.
    static let tolerance = Duration.milliseconds(400)

    func expect(_ condition: Bool, _ failure: @autoclosure () -> String) throws {
        if !condition { throw BrokenRule(failure()) }
    }

    func expect(_ answer: String, _ wanted: String, _ what: String) throws {
        if answer != wanted { throw BrokenRule("\(what): it answered \(answer) instead of \(wanted)") }
    }

    /// Waits for something; fails with "it should have been that …".
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

    /// The files in the journal directory that mean something.
    func journalFiles(_ kind: JournalFile.Kind) throws -> [JournalFile] {
        try syncd.journal.scan().filter { $0.kind == kind }
    }

    /// The tags in a journal file, complete or not at all.
    func tags(_ file: JournalFile) -> [ByteBuffer]? {
        guard let bytes = SystemFiles.read("\(syncd.journal.path)/\(file.name)") else { return nil }
        var decoder = CommandDecoder(limits: WireLimits())
        decoder.feed(ByteBuffer(bytes: bytes))
        return try? decoder.next()
    }
}
