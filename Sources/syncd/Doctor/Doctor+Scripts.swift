import IPC
import IPCWire
import NIOCore
import SyncCore

/// The reason why a check could not go on.
enum Obstacle: Error {
    case lost(ConnectionLoss)
    /// The step that failed, and how.
    case failed(step: String, UpstreamFailure)
}

/// syncd's scripts and commands, with a log and values of the test.
extension Doctor {
    func checkScripts(_ commands: DoctorConnection, _ subscription: DoctorConnection) async throws(ConnectionLoss) {
        let reply = try await commands.ask("EVAL", "return 7", "0")
        guard reply == .integer(7) else {
            return add(
                Finding(
                    .scripts, .failure, "EVAL: \(reply.errorShown ?? "a script has another result than it should")",
                    follows: "invalidations are appended by a script: the host is isolated",
                    remedy: reply.failure?.remedy(permitting: "+eval")
                        ?? "use another server: one without EVAL cannot hold the log"))
        }
        add(Finding(.scripts, .ok, "EVAL runs scripts"))
        var log = ScratchLog(commands: commands, encoding: encoding, keys: scratch, isCluster: isCluster)
        let fault = await log.use(arrival: isListening ? subscription : nil)
        if case .lost(let loss) = fault { throw loss }
        try await log.delete()
        add(Self.names(log.hasNames))
        if case .failed(let step, let failure) = fault {
            add(
                Finding(
                    .log, .failure, "\(step): \(failure.message)",
                    follows: "the log cannot be kept here: hosts are isolated",
                    remedy: failure.remedy(permitting: "+type +mget +get +set +del +xadd +xrange +xrevrange +publish")))
        } else {
            add(Finding(.log, .ok, "a log was made, appended to, read, inspected, replaced and deleted"))
        }
        try await checkValues(commands)
    }

    private static func names(_ hasNames: Bool) -> Finding {
        guard !hasNames else { return Finding(.scriptNames, .ok, "SCRIPT LOAD and EVALSHA: scripts are sent by name") }
        return Finding(
            .scriptNames, .note, "SCRIPT LOAD or EVALSHA is refused",
            follows:
                "scripts are sent whole each time: \(RedisScript.append.source.readableBytes) bytes an invalidation",
            remedy: "permit +script|load and +evalsha")
    }

    /// Stores a value and reads it as a lookup does, short and long.
    private func checkValues(_ commands: DoctorConnection) async throws(ConnectionLoss) {
        let (key, value) = (ByteBuffer(string: "value"), ByteBuffer(string: "of the doctor"))
        let stored = try await commands.ask(encoding.set(key, value, ttlMilliseconds: 60_000))
        let read = try await commands.ask(Self.whole(.get, encoding.get(key, longest: LongValues.shortBytes)))
        let length = try await commands.ask(Self.whole(.get, encoding.get(key, longest: 0)))
        _ = try await commands.ask([.word("DEL"), scratch.value(key)])
        if let failure = stored.failure ?? read.failure ?? length.failure { return add(Self.values(failure)) }
        guard case .got(value?, _)? = ReplyDecoding.get(read) else {
            return add(Self.values(.refused("the value was not found")))
        }
        if ReplyDecoding.get(length) == .long(bytes: value.readableBytes) {
            add(Finding(.values, .ok, "a value was kept and found with its time to live"))
        } else {
            add(
                Finding(
                    .values, .note, "a value was kept and found; STRLEN is forbidden",
                    follows: "a burst of long values makes invalidations wait", remedy: "permit +strlen"))
        }
    }

    private static func values(_ failure: UpstreamFailure) -> Finding {
        Finding(
            .values, .warning, failure.message, follows: "hosts do not share values: each loads them from the database",
            remedy: failure.remedy(permitting: "+set +get +pttl"))
    }

    /// The call with the script's source.
    static func whole(_ script: RedisScript, _ call: CommandEncoding.ScriptCall) -> [ByteBuffer] {
        [.word("EVAL"), script.source] + call[2...]
    }
}

/// A log that only the doctor uses.
@DoctorLoop
struct ScratchLog {
    private let commands: DoctorConnection
    private let encoding: CommandEncoding
    private let keys: RedisKeys
    /// Whether the scripts for a cluster are used, which publish on sharded channels.
    private let isCluster: Bool
    private var names = ScriptNames()
    private let incarnation = Self.randomIncarnation()

    init(commands: DoctorConnection, encoding: CommandEncoding, keys: RedisKeys, isCluster: Bool) {
        self.commands = commands
        self.encoding = encoding
        self.keys = keys
        self.isCluster = isCluster
    }

    private static func randomIncarnation() -> Incarnation {
        Incarnation(high: .random(in: 1...UInt64.max), low: .random(in: 1...UInt64.max))
    }

    /// Whether the server runs scripts by their names.
    var hasNames: Bool { names.name(of: .append) != nil }

    /// - Parameter arrival: a connection that has subscribed to the channel; `nil`: the channel is not permitted.
    /// - Returns: the reason why the log is unusable; `nil`: none.
    mutating func use(arrival: DoctorConnection?) async -> Obstacle? {
        do throws(Obstacle) {
            let first = try await append(to: .none, at: 1)
            let second = try await append(to: incarnation, at: 2)
            try await expire()
            try await read([first, second])
            try await inspect(second)
            if let arrival { try await receive(second, arrival) }
            return nil
        } catch { return error }
    }

    /// A doctor that is killed leaves nothing behind for long.
    private func expire() async throws(Obstacle) {
        for key in keys.log { _ = try await ask([.word("PEXPIRE"), key, .word("60000")]) }
    }

    func delete() async throws(ConnectionLoss) { _ = try await commands.ask([.word("DEL")] + keys.log) }

    private mutating func append(to log: Incarnation, at position: LogPosition) async throws(Obstacle) -> LogEntryBody {
        let body = LogEntryBody(
            origin: .random(in: 0...UInt64.max), nonce: .random(in: 0...UInt64.max), eventChannel: nil,
            tags: [ByteBuffer(string: "doctor")])
        let command = AppendCommand(incarnation: log, fresh: incarnation, body: body, eventPayload: nil)
        let reply = try await run(isCluster ? .shardedAppend : .append, encoding.append(command))
        // PUBLISH comes last, and the channel of the test may be forbidden: the entry is in the log, as reading it shows.
        if let text = reply.errorText, Doctor.isChannelRefusal(text) { return body }
        try expect(
            "append", reply, ReplyDecoding.append(reply)?.reply == .appended(incarnation, position: position))
        return body
    }

    private func read(_ bodies: [LogEntryBody]) async throws(Obstacle) {
        let probe = try await ask(encoding.probe())
        try expect("MGET", probe, ReplyDecoding.probe(probe) == .probed(incarnation, position: LogPosition(2)))
        let before = ReplyDecoding.incarnation(try await ask(encoding.readRecord))
        let entries = try await ask(encoding.readEntries(after: LogPosition(0), count: 10))
        let after = try await ask(encoding.readRecord)
        let page = ReplyDecoding.page(entries, count: 10, before: before, after: after)
        let expected = bodies.enumerated().map { LogEntry(position: LogPosition(UInt64($0 + 1)), body: $1) }
        try expect("XRANGE", entries, page == .entries(incarnation, expected))
    }

    private mutating func inspect(_ last: LogEntryBody) async throws(Obstacle) {
        let reply = try await run(.inspect, encoding.inspect(lastApplied: LogPosition(2)))
        guard case .inspected(let found)? = ReplyDecoding.inspect(reply, lastApplied: LogPosition(2), info: nil),
            found.incarnation == incarnation, found.firstEntry == LogPosition(1), found.lastEntry == LogPosition(2),
            found.entryAtLastApplied?.body == last
        else { return try expect("inspection", reply, false) }
        let fresh = Self.randomIncarnation()
        let command = ReplaceCommand(expected: found.rawRecord, fresh: fresh, floor: LogPosition(5))
        let replaced = try await run(isCluster ? .shardedReplace : .replace, encoding.replace(command))
        if let text = replaced.errorText, Doctor.isChannelRefusal(text) { return }
        try expect(
            "replacement", replaced, ReplyDecoding.replace(replaced) == .replaced(fresh, position: LogPosition(5)))
        try await expire()
    }

    /// The entry, as the script has published it.
    private func receive(_ body: LogEntryBody, _ subscription: DoctorConnection) async throws(Obstacle) {
        var payload = incarnation.text
        payload.writeString(" 2 ")
        payload.writeImmutableBuffer(body.encoded())
        let message: [RESPValue] = [.bulkString(keys.logChannel), .bulkString(payload)]
        do throws(ConnectionLoss) {
            if try await subscription.message([ReplyDecoding.messageWord, ReplyDecoding.shardMessageWord], message) {
                return
            }
        } catch { throw .lost(error) }
        throw .failed(step: "append", .refused("the entry that the script published did not arrive within 2 s"))
    }

    // MARK: Commands

    private func ask(_ words: [ByteBuffer]) async throws(Obstacle) -> RESPValue {
        do throws(ConnectionLoss) { return try await commands.ask(words) } catch { throw .lost(error) }
    }

    /// Runs a script by its name where the server permits it, as the daemon does.
    private mutating func run(
        _ script: RedisScript, _ call: CommandEncoding.ScriptCall
    ) async throws(Obstacle) -> RESPValue {
        if names.shouldLearn(script) {
            names.learnt(script, try await ask([.word("SCRIPT"), .word("LOAD"), script.source]))
        }
        if let name = names.name(of: script) {
            var call = call
            call[1] = name
            let reply = try await ask(call)
            guard let text = reply.errorText, names.refused(script, text) else { return reply }
        }
        return try await ask(Doctor.whole(script, call))
    }

    private func expect(_ step: String, _ reply: RESPValue, _ isRight: Bool) throws(Obstacle) {
        guard !isRight else { return }
        throw .failed(
            step: step, reply.failure ?? .refused("the reply does not fit what the server was told before"))
    }
}
