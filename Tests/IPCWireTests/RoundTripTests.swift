import NIOCore
import Testing

@testable import IPCWire

/// Whatever is written is read as the same, in both versions of the protocol.
@Suite struct RoundTripTests {
    static let awkward = ByteBuffer(bytes: [0, 13, 10, 255, 36, 42, 0xc3, 0xa9])
    static let text = ByteBuffer(string: "users:all")
    static let event = Event(channel: text, payload: awkward)

    static let requests: [Request] = [
        .hello(version: nil, name: nil), .hello(version: .v2, name: nil), .hello(version: .v3, name: awkward),
        .ping(nil), .ping(awkward), .echo(awkward), .echo(ByteBuffer()), .quit, .reset, .select, .client(.id),
        .client(.getName), .client(.setName(awkward)), .client(.accepted), .client(.info), .client(.list),
        .command(.all), .command(.count), .command(.docs), .command(.other), .configGet,
        .fetch(key: awkward, waitMilliseconds: nil), .fetch(key: text, waitMilliseconds: 0),
        .fetch(key: text, waitMilliseconds: 60_000), .renew(key: awkward, ttlMilliseconds: 0),
        .renew(key: text, ttlMilliseconds: 86_400_000),
        .fill(
            Fill(key: awkward, lease: .greatest, ttlMilliseconds: 86_400_000, tags: [awkward, text], value: awkward)),
        .fill(Fill(key: text, lease: 0, ttlMilliseconds: 1, tags: [], value: nil)),
        .fill(Fill(key: text, lease: 1, ttlMilliseconds: 1, tags: [], value: ByteBuffer())),
        .fill(
            Fill(
                key: text, lease: 1, ttlMilliseconds: 1, tags: (0..<64).map { ByteBuffer(string: "\($0)") },
                value: ByteBuffer(repeating: 0, count: 8 << 20))),
        .abandon(key: awkward, lease: 5), .invalidate(tags: [awkward], event: nil),
        .invalidate(tags: [ByteBuffer(string: "TAGS"), ByteBuffer(string: "EVENT")], event: nil),
        .invalidate(tags: (0..<1024).map { ByteBuffer(string: "\($0)") }, event: event),
        .invalidate(tags: [text], event: Event(channel: ByteBuffer(string: "TAGS"), payload: ByteBuffer())),
        .invalidate(tags: [awkward], event: event, at: OperationTime(seconds: .max, increment: .max)),
        .invalidate(tags: [ByteBuffer(string: "AT")], event: nil, at: OperationTime(seconds: 0, increment: 0)),
        .feed(.claim(name: ByteBuffer(string: "shop.users"))), .feed(.leave(name: ByteBuffer(string: "a"))),
        .feed(.reset(name: ByteBuffer(string: "a"), token: awkward)),
        .feed(.save(FeedSave(name: ByteBuffer(string: "a"), token: awkward, lagMilliseconds: 0, changes: []))),
        .feed(
            .save(
                FeedSave(
                    name: ByteBuffer(string: "a"), token: text, lagMilliseconds: 7,
                    changes: [
                        FeedChange(
                            collection: awkward, time: OperationTime(seconds: 1, increment: 2), tags: [awkward, text]),
                        FeedChange(collection: text, time: OperationTime(seconds: 1, increment: 3), tags: [text]),
                    ]))),
        .publish(event), .subscribe([awkward, text]), .unsubscribe([]), .unsubscribe([text]),
        .patternSubscribe([awkward]), .patternUnsubscribe([]), .patternUnsubscribe([text, text]), .track(true),
        .track(false), .explain(key: awkward),
        .report([ReportField(name: awkward, value: text), ReportField(name: text, value: ByteBuffer())]),
        .setMetrics(worker: ByteBuffer(), text: awkward),
        .setMetrics(
            worker: ByteBuffer(string: "azAZ09-._" + String(repeating: "x", count: 55)),
            text: ByteBuffer(repeating: 0, count: 256 << 10)),
        .metrics, .status(section: nil), .status(section: "log"), .info(sections: []), .info(sections: ["all", "log"]),
        .shutdown,
    ]

    @Test(arguments: requests) func `a request`(request: Request) throws {
        var writer = RESPWriter(version: .v3)
        request.encode(into: &writer)
        var decoder = CommandDecoder(limits: WireLimits())
        decoder.feed(writer.buffer)
        let arguments = try #require(try decoder.next())
        #expect(try Request.parse(arguments, limits: WireLimits()) == request)
        #expect(try decoder.next() == nil)
        #expect(decoder.heldBytes == 0)
    }

    static let hit = Hit(value: awkward, asOf: .greatest, ttlMilliseconds: 5, tags: [awkward, text], epoch: 3)
    static let outcomes: [FetchOutcome] = [
        .hit(hit), .hit(Hit(value: nil, asOf: 0, ttlMilliseconds: 0, tags: [], epoch: 0)),
        .hit(Hit(value: ByteBuffer(), asOf: 1, ttlMilliseconds: 1, tags: [], epoch: 1)),
        .lease(Lease(id: .greatest, asOf: 2, epoch: 3)), .miss,
    ]
    static let versions = [RESPVersion.v2, .v3]

    private func decoded(_ version: RESPVersion, _ encode: (inout RESPWriter) -> Void) throws -> RESPValue {
        var writer = RESPWriter(version: version)
        encode(&writer)
        var decoder = RESPDecoder(limits: WireLimits())
        decoder.feed(writer.buffer)
        let value = try #require(try decoder.next())
        #expect(try decoder.next() == nil)
        #expect(decoder.heldBytes == 0)
        return value
    }

    @Test(arguments: versions, outcomes) func `the answer to a fetch`(version: RESPVersion, outcome: FetchOutcome)
        throws
    {
        let value = try decoded(version) { Reply.fetched(outcome).encode(into: &$0) }
        #expect(try FetchReply(value) == .outcome(outcome))
    }

    @Test(arguments: versions) func `a ticket and a refusal`(version: RESPVersion) throws {
        #expect(
            try FetchReply(try decoded(version) { Reply.wait(ticket: 1 << 53).encode(into: &$0) })
                == .wait(ticket: 1 << 53))
        for code in ErrorCode.allCases {
            let error = ReplyError(code, "some words")
            #expect(try FetchReply(try decoded(version) { Reply.error(error).encode(into: &$0) }) == .error(error))
        }
    }

    @Test(arguments: versions) func `metrics of workers`(version: RESPVersion) throws {
        let reports = [
            ReportedMetrics(worker: Self.text, ageMilliseconds: 1 << 53, text: Self.awkward),
            ReportedMetrics(worker: ByteBuffer(), ageMilliseconds: 0, text: ByteBuffer()),
        ]
        let value = try decoded(version) { Reply.array(reports.map(\.reply)).encode(into: &$0) }
        #expect(try ReportedMetrics.decode(value) == reports)
        #expect(try ReportedMetrics.decode(.array([])) == [])
        for other in [RESPValue.null, .array([.null]), .array([.array([.bulkString(Self.text), .integer(1)])])] {
            #expect(throws: MalformedReply.self) { try ReportedMetrics.decode(other) }
        }
    }

    @Test(arguments: versions) func `a greeting`(version: RESPVersion) throws {
        for (state, mode) in [(SyncState.attached, LogMode.redis), (.isolated, .embedded)] {
            let greeting = Greeting(
                version: "1.2.3", proto: version, clientID: 7, epoch: .greatest, incarnation: "ab", applied: 9,
                state: state, logMode: mode, table: "/run/é table", journal: "", trustWindowMilliseconds: 1000)
            #expect(try Greeting(try decoded(version) { Reply.greeting(greeting).encode(into: &$0) }) == greeting)
        }
    }

    @Test func `plain replies`() throws {
        let cases: [(Reply, RESPValue, RESPValue)] = [
            (.ok, .simpleString(ByteBuffer(string: "OK")), .simpleString(ByteBuffer(string: "OK"))),
            (.simple(.pong), .simpleString(ByteBuffer(string: "PONG")), .simpleString(ByteBuffer(string: "PONG"))),
            (.simple(.reset), .simpleString(ByteBuffer(string: "RESET")), .simpleString(ByteBuffer(string: "RESET"))),
            (
                .simple(.deferred), .simpleString(ByteBuffer(string: "DEFERRED")),
                .simpleString(ByteBuffer(string: "DEFERRED"))
            ),
            (.integer(1 << 53), .integer(1 << 53), .integer(1 << 53)),
            (.bulk(Self.awkward), .bulkString(Self.awkward), .bulkString(Self.awkward)),
            (.null, .null, .null), (.emptyArray, .array([]), .array([])), (.emptyMap, .array([]), .map([])),
            (.array([.integer(1), .null]), .array([.integer(1), .null]), .array([.integer(1), .null])),
            (
                .subscriptions(.subscribe, [SubscriptionChange(channel: Self.text, count: 2)]),
                .array([.bulkString(ByteBuffer(string: "subscribe")), .bulkString(Self.text), .integer(2)]),
                .push([.bulkString(ByteBuffer(string: "subscribe")), .bulkString(Self.text), .integer(2)])
            ),
            (
                .subscriptions(.patternUnsubscribe, [SubscriptionChange(channel: nil, count: 0)]),
                .array([.bulkString(ByteBuffer(string: "punsubscribe")), .null, .integer(0)]),
                .push([.bulkString(ByteBuffer(string: "punsubscribe")), .null, .integer(0)])
            ),
        ]
        for (reply, second, third) in cases {
            #expect(try decoded(.v2) { reply.encode(into: &$0) } == second)
            #expect(try decoded(.v3) { reply.encode(into: &$0) } == third)
        }
    }

    @Test func `null and maps are those of the version`() {
        func bytes(_ version: RESPVersion, _ reply: Reply) -> String {
            var writer = RESPWriter(version: version)
            reply.encode(into: &writer)
            return String(buffer: writer.buffer)
        }
        #expect(bytes(.v2, .null) == "$-1\r\n")
        #expect(bytes(.v3, .null) == "_\r\n")
        let fields = Reply.fields([
            StatusField("a", .flag(true)), StatusField("b", .null), StatusField("c", .number(10)),
        ])
        #expect(bytes(.v2, fields) == "*6\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n$-1\r\n$1\r\nc\r\n:10\r\n")
        #expect(bytes(.v3, fields) == "%3\r\n$1\r\na\r\n#t\r\n$1\r\nb\r\n_\r\n$1\r\nc\r\n:10\r\n")
        #expect(bytes(.v3, .fields([StatusField("a", .flag(false))])) == "%1\r\n$1\r\na\r\n#f\r\n")
    }

    @Test func `fields of a status`() throws {
        let inner = [StatusField("name", .bytes(Self.awkward)), StatusField("tracking", .flag(true))]
        let fields = [
            StatusField(
                "log", .fields([StatusField("mode", .bytes(ByteBuffer(string: "redis"))), StatusField("why", .null)])),
            StatusField("clients", .list([.fields(inner), .fields(inner)])), StatusField("empty", .list([])),
            StatusField("n", .number(1 << 53)),
        ]
        #expect(try StatusField.decode(try decoded(.v3) { Reply.fields(fields).encode(into: &$0) }) == fields)
    }

    static let pushes: [Push] =
        outcomes.map { .fetched(ticket: 9, $0) } + EpochReason.allCases.map { .epoch(.greatest, reason: $0) } + [
            .invalidate(position: .greatest, tags: [awkward, text]), .invalidate(position: 0, tags: []),
            .heartbeat(
                Heartbeat(
                    epoch: 1, applied: 2, state: .attached, heartbeat: BootTime(1 << 62), freshAsOf: 4)),
            .heartbeat(
                Heartbeat(epoch: 1, applied: 2, state: .isolated, heartbeat: 0, freshAsOf: 0)),
            .message(event), .patternMessage(pattern: ByteBuffer(string: "*"), event),
        ]

    @Test(arguments: pushes) func `a push`(push: Push) throws {
        #expect(try Push.decode(try decoded(.v3) { push.encode(into: &$0) }) == push)
        guard case .array(let parts) = try decoded(.v2, { push.encode(into: &$0) }) else {
            Issue.record("RESP2 has arrays in place of pushes")
            return
        }
        #expect(try Push.decode(.push(parts)) == push)
    }

    @Test func `confirmations are pushes that say nothing more`() throws {
        for kind in ["subscribe", "unsubscribe", "psubscribe", "punsubscribe"] {
            #expect(try Push.decode(.push([.bulkString(ByteBuffer(string: kind)), .null, .integer(0)])) == nil)
        }
    }

    @Test func `what a later version adds is not an end`() throws {
        let epoch = RESPValue.push([
            .bulkString(ByteBuffer(string: "epoch")), .integer(4), .bulkString(ByteBuffer(string: "new")),
        ])
        #expect(try Push.decode(epoch) == .epoch(4, reason: .discontinuous))
        #expect(ReplyError(ByteBuffer(string: "NEWCODE something")) == ReplyError(.generic, "NEWCODE something"))
        #expect(ReplyError(ByteBuffer(string: "STALE")) == ReplyError(.stale, ""))
    }
}

extension TypedNumber {
    /// The greatest number on the wire.
    static var greatest: Self { Self(WireLimits.maximumNumber) }
}
