import EngineTesting
import IPCTesting
import IPCWire
import Logging
import NIOCore
import NIOPosix
import SyncCore
import Synchronization
import Testing
import TestSupport

@testable import simulate
@testable import syncd

/// The model of Redis answers as the real one does: the same commands, and the same mishaps between them, against both.
@Suite(.tags(.servers)) struct RedisModelTests {
    private static let keys = RedisKeys(namespace: "syncd")
    private static let channel = ByteBuffer(string: "user:updated")

    @Test(arguments: 1...12)
    func `same answers`(seed: UInt64) async throws {
        let server = try await TestSupport.RedisServer()
        let redis = try await RealRedis(server, keys: Self.keys, channel: Self.channel)
        var random = SeededRandom(seed: seed)
        var model = RedisData()
        var time: UInt64 = 0
        var published: [UpstreamEvent] = []
        var history: [String] = []
        let incarnations = (1...3).map { Incarnation(high: UInt64($0) << 60 | 1, low: UInt64($0)) }
        var identity: ServerIdentity?
        for step in 1...150 {
            if random.oneIn(4) {
                let mishap = Mishap.allCases[random.below(Mishap.allCases.count)]
                history.append("\(mishap)")
                try await mishap.happen(to: server)
                mishap.happen(to: &model, &time)
            }
            let command = Self.command(UpstreamID(UInt64(step)), incarnations, model, &random)
            history.append("\(command)")
            let answer = await redis.ask(command)
            if identity == nil, case .inspected(let found)? = answer { identity = found.identity }
            guard identity != nil || command.isInspection else { continue }
            if case .append(_, let append) = command, let event = append.bridged {
                try await Self.stopTime(of: event, on: server)
            }
            let expected = model.execute(command, identity: identity, info: (identity, true), now: time)
            published += [expected.published, expected.event.map { .message($0) }].compactMap { $0 }
            #expect(
                Self.comparable(answer) == Self.comparable(expected.reply),
                "\(history.suffix(6).joined(separator: "\n"))")
            guard Self.comparable(answer) == Self.comparable(expected.reply) else { break }
        }
        let expected = published
        await eventually("the same messages are published", details: { "\(redis.published)\n\(expected)" }) {
            redis.published == expected
        }
        await redis.stop()
    }

    // MARK: Commands

    private static func command(
        _ id: UpstreamID, _ incarnations: [Incarnation], _ model: RedisData, _ random: inout SeededRandom
    ) -> UpstreamCommand {
        guard id > 1 else { return .inspect(id, lastApplied: 0) }
        let some = incarnations[random.below(incarnations.count)]
        let believed = random.oneIn(4) ? some : model.incarnation ?? some
        let event = Event(channel: channel, payload: ByteBuffer(string: "{}"))
        switch random.below(19) {
        case 0...3:
            let tags = (0...random.below(3)).map { ByteBuffer(bytes: [UInt8($0), 0x0d, 0x0a, 0xff, 0x2a]) }
            let isWithEvent = random.oneIn(4)
            let body = LogEntryBody(origin: 7, nonce: id.number, eventChannel: isWithEvent ? channel : nil, tags: tags)
            return .append(
                id,
                AppendCommand(
                    incarnation: believed, fresh: some, body: body, eventPayload: isWithEvent ? event.payload : nil))
        case 4...6:
            let tags = [ByteBuffer(string: "users"), ByteBuffer(string: "user:\(random.below(2))")]
            let body = LogEntryBody(origin: 7, nonce: id.number, eventChannel: nil, tags: tags)
            return .append(
                id,
                AppendCommand(
                    incarnation: believed, fresh: some, body: body, eventPayload: nil,
                    bridged: bridgedEvents[random.below(bridgedEvents.count)]))
        case 7: return .probe(id, feeds: random.oneIn(2) ? feeds : [])
        case 14, 15: return .feed(id, feed(token: nil, &random))
        case 16: return .feed(id, feed(token: id, &random))
        case 17:
            let body = LogEntryBody(
                origin: 7, nonce: id.number, eventChannel: nil, tags: [ByteBuffer(string: "users")],
                operationTime: OperationTime(seconds: 5, increment: UInt32(id.number)))
            return .append(
                id,
                AppendCommand(
                    incarnation: believed, fresh: some, body: body, eventPayload: nil,
                    feed: feed(token: id, &random)))
        case 8: return .read(id, after: LogPosition(UInt64(random.below(20))), count: 1 + random.below(5))
        case 9, 10: return .inspect(id, lastApplied: LogPosition(UInt64(random.below(20))))
        case 11:
            let raw: ByteBuffer? = if case .text(let text) = model.record { ByteBuffer(string: text) } else { nil }
            let expected = random.oneIn(4) ? ByteBuffer(string: "nonsense") : raw
            return .replace(
                id, ReplaceCommand(expected: expected, fresh: some, floor: LogPosition(UInt64(random.below(30)))))
        case 12: return .publish(id, event)
        default: return .get(id, key: ByteBuffer(string: "k"))
        }
    }

    private static let feeds = [ByteBuffer(string: "a.users"), ByteBuffer(string: "b")]

    /// Of one of two hosts, in use or idle. The role is kept for longer than the test takes.
    private static func feed(token: UpstreamID?, _ random: inout SeededRandom) -> FeedCommand {
        let holder = ["7", "7 idle", "70", "70 idle"][random.below(4)]
        return FeedCommand(
            name: feeds[random.below(2)], holder: ByteBuffer(string: holder), ttlMilliseconds: 1_000_000_000,
            token: token.map { ByteBuffer(string: "token \($0)") })
    }

    /// Few, so that some come again.
    private static let bridgedEvents = [
        BridgedEvent(base: 1, ordinal: 1), BridgedEvent(base: 1, ordinal: 2), BridgedEvent(base: 11, ordinal: 1),
    ]

    /// The real server remembers the event for 10 s at most. From now on, only a mishap lets that time pass.
    private static func stopTime(of event: BridgedEvent, on server: TestSupport.RedisServer) async throws {
        let key = String(buffer: keys.bridged(event))
        guard case .integer(let left) = try await server.command("PTTL", key) else {
            throw TestFailure("no time to live")
        }
        #expect(left == keyIsMissing || left == keyStays || (1...10_000).contains(left))
        try await server.command("PERSIST", key)
    }

    /// Replies to PTTL.
    private static let (keyIsMissing, keyStays): (Int64, Int64) = (-2, -1)

    /// The part that must be equal: everything except texts for people, versions, and times.
    private static func comparable(_ reply: UpstreamReply?) -> UpstreamReply? {
        switch reply {
        case .failed(.damaged): return .failed(.damaged(""))
        case .failed(.refused): return .failed(.refused(""))
        case .inspected(var found):
            found.identity = nil
            found.serverVersion = ""
            found.warnings = []
            return .inspected(found)
        case .got(let entry, _): return .got(entry: entry, ttlMilliseconds: 0)
        default: return reply
        }
    }

    // MARK: Mishaps

    private enum Mishap: CaseIterable {
        case flush, deleteRecord, deletePosition, deleteStream, recordIsList, positionIsList, positionIsText
        case streamIsText, recordIsNonsense, trim, deleteEntry, timePasses

        func happen(to server: TestSupport.RedisServer) async throws {
            let (record, position, stream) = ("{syncd}:incarnation", "{syncd}:position", "{syncd}:stream")
            switch self {
            case .flush: try await server.command("FLUSHALL")
            case .deleteRecord: try await server.command("DEL", record)
            case .deletePosition: try await server.command("DEL", position)
            case .deleteStream: try await server.command("DEL", stream)
            case .recordIsList: try await replace(record, on: server)
            case .positionIsList: try await replace(position, on: server)
            case .positionIsText: try await server.command("SET", position, "12x")
            case .streamIsText: try await server.command("SET", stream, "x")
            case .recordIsNonsense: try await server.command("SET", record, "nonsense")
            case .trim:
                if case .bulkString(let type) = try await server.command("TYPE", stream),
                    String(buffer: type) != "stream"
                {
                    return
                }
                try await server.command("XTRIM", stream, "MAXLEN", "2")
            case .deleteEntry:
                guard case .array(let found) = try await server.command("XRANGE", stream, "-", "+", "COUNT", "1"),
                    case .array(let parts)? = found.first, case .bulkString(let id)? = parts.first
                else { return }
                try await server.command("XDEL", stream, String(buffer: id))
            case .timePasses:
                for event in bridgedEvents { try await server.command("DEL", String(buffer: keys.bridged(event))) }
            }
        }

        private func replace(_ key: String, on server: TestSupport.RedisServer) async throws {
            try await server.command("DEL", key)
            try await server.command("RPUSH", key, "x")
        }

        func happen(to model: inout RedisData, _ time: inout UInt64) {
            switch self {
            case .flush: model.flushAll()
            case .deleteRecord: model.record = .missing
            case .deletePosition: model.position = .missing
            case .deleteStream: model.stream = .missing
            case .recordIsList: model.record = .other
            case .positionIsList: model.position = .other
            case .positionIsText: model.position = .text("12x")
            case .streamIsText: model.stream = .other
            case .recordIsNonsense: model.record = .text("nonsense")
            case .trim: model.trim(to: 2)
            case .deleteEntry: model.deleteEntry(at: 0)
            case .timePasses: time += 10_000
            }
        }
    }
}

extension UpstreamCommand {
    fileprivate var isInspection: Bool { if case .inspect = self { true } else { false } }
}

/// A real server, asked as syncd asks it.
private final class RealRedis: Sendable {
    private struct State {
        var answers: [UpstreamID: UpstreamReply] = [:]
        var published: [UpstreamEvent] = []
        var connections = 0
    }

    private let state = Mutex(State())
    private let eventLoop: any EventLoop
    private let upstream: NIOLoopBoundBox<RedisUpstream?>

    init(_ server: TestSupport.RedisServer, keys: RedisKeys, channel: ByteBuffer) async throws {
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        self.eventLoop = eventLoop
        upstream = .makeBoxSendingValue(nil, eventLoop: eventLoop)
        let endpoint = try RedisEndpoint.parse(server.url)
        try await eventLoop.submit { [self] in
            let upstream = RedisUpstream(
                endpoint: endpoint, keys: keys, bridgedChannels: [channel], eventLoop: eventLoop,
                logger: Logger(label: "test")
            ) { [weak self] event in self?.received(event) }
            self.upstream.value = upstream
            upstream.start()
        }.get()
        await eventually("both connections are there") { state.withLock { $0.connections == 2 } }
    }

    private func received(_ event: UpstreamEvent) {
        state.withLock { state in
            switch event {
            case .commandsConnected, .subscriptionConnected: state.connections += 1
            case .reply(let id, let reply): state.answers[id] = reply
            case .published, .publishedUnreadable, .message: state.published.append(event)
            default: break
            }
        }
    }

    var published: [UpstreamEvent] { state.withLock { $0.published } }

    func ask(_ command: UpstreamCommand) async -> UpstreamReply? {
        guard let id = command.id else { return nil }
        eventLoop.execute { [upstream] in
            upstream.value?.send(command)
            upstream.value?.flush()
        }
        await eventually("an answer to \(command)") { state.withLock { $0.answers[id] != nil } }
        return state.withLock { $0.answers[id] }
    }

    func stop() async {
        try? await eventLoop.flatSubmit { [upstream, eventLoop] in
            upstream.value?.shutdown() ?? eventLoop.makeSucceededVoidFuture()
        }.get()
    }
}
