import IPCWire
import NIOCore
import SyncCore
import Testing

@testable import syncd

@Suite struct LogEntryCodingTests {
    private let body = LogEntryBody(
        origin: 12, nonce: 34, eventChannel: ByteBuffer(string: "user:created"),
        tags: [ByteBuffer(string: "users"), ByteBuffer(bytes: [0, 13, 10, 32, 255])])

    @Test func `there and back`() {
        #expect(LogEntryBody(encoded: body.encoded()) == body)
        var silent = body
        silent.eventChannel = nil
        #expect(LogEntryBody(encoded: silent.encoded()) == silent)
    }

    @Test func `a time of the database, in a note that older versions take for a tag`() {
        var timed = body
        timed.operationTime = OperationTime(seconds: .max, increment: 7)
        #expect(LogEntryBody(encoded: timed.encoded()) == timed)
        let text = String(decoding: timed.encoded().readableBytesView, as: UTF8.self)
        #expect(text.hasPrefix("*6\r\n") && text.hasSuffix("@t4294967295.7\r\n"))
        var full = timed
        full.tags = (0..<LogEntryBody.maximumTags).map { ByteBuffer(string: "\($0)") }
        #expect(
            LogEntryBody(encoded: full.encoded())?.operationTime == nil, "no more elements than older versions read")
    }

    @Test func `the time of sending, alone and with a time of the database`() {
        var sent = body
        sent.sentAt = 1_700_000_000_123
        #expect(LogEntryBody(encoded: sent.encoded()) == sent)
        #expect(String(decoding: sent.encoded().readableBytesView, as: UTF8.self).hasSuffix("@s1700000000123\r\n"))
        sent.operationTime = OperationTime(seconds: 5, increment: 6)
        #expect(LogEntryBody(encoded: sent.encoded()) == sent)
    }

    @Test(
        arguments: [
            ("@", nil), ("@t5.6", 5), ("@x1 t5.6 y", 5), ("@t5.6 s99", 5), ("@t5", nil), ("@t5.", nil), ("@t-5.6", nil),
            ("@t4294967296.1", nil),
        ] as [(String, UInt32?)]) func `a note of another version`(text: String, seconds: UInt32?)
    {
        let note = [0xff] + Array(text.utf8)
        var writer = RESPWriter(version: .v2)
        writer.arrayHeader(5)
        for element in [Array("1".utf8), Array("2".utf8), [], Array("users".utf8), note] {
            writer.bulkString(ByteBuffer(bytes: element))
        }
        let read = LogEntryBody(encoded: writer.buffer)
        #expect(read?.tags == [ByteBuffer(string: "users")])
        #expect(read?.operationTime == seconds.map { OperationTime(seconds: $0, increment: 6) })
    }

    @Test(arguments: [
        "", "hello", "*0\r\n", "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$0\r\n\r\n",
        "*4\r\n$1\r\nx\r\n$1\r\n2\r\n$0\r\n\r\n$1\r\na\r\n",
        "*4\r\n$2\r\n01\r\n$1\r\n2\r\n$0\r\n\r\n$1\r\na\r\n", "*4\r\n$2\r\n+1\r\n$1\r\n2\r\n$0\r\n\r\n$1\r\na\r\n",
        "*4\r\n$1\r\n1\r\n$1\r\n2\r\n$0\r\n\r\n$1\r\na\r\nmore", "*4\r\n$1\r\n1\r\n$1\r\n2\r\n$0\r\n\r\n$1\r\na",
        "*4\r\n$20\r\n99999999999999999999\r\n$1\r\n2\r\n$0\r\n\r\n$1\r\na\r\n",
    ])
    func `what others may have written is no body`(text: String) {
        #expect(LogEntryBody(encoded: ByteBuffer(string: text)) == nil)
    }

    @Test func `what no syncd appends is no body`() {
        func isRead(tags count: Int, bytes: Int) -> Bool {
            let body = LogEntryBody(
                origin: 1, nonce: 2, eventChannel: nil,
                tags: (0..<count).map { _ in ByteBuffer(repeating: 0x61, count: bytes) })
            return LogEntryBody(encoded: body.encoded()) == body
        }
        #expect(isRead(tags: 4096, bytes: 256) && isRead(tags: 1, bytes: 1 << 20))
        #expect(
            !isRead(tags: 4097, bytes: 1) && !isRead(tags: 1, bytes: (1 << 20) + 1) && !isRead(tags: 3, bytes: 400_000))
    }

    @Test func `a publication`() {
        let incarnation = Incarnation(high: 1, low: 2)
        var message = ByteBuffer(string: "\(incarnation.description) 77 ")
        message.writeImmutableBuffer(body.encoded())
        let (theirs, entry) = LogEntry.decode(published: message) ?? (.none, LogEntry(position: 0, body: body))
        #expect(theirs == incarnation)
        #expect(entry == LogEntry(position: 77, body: body))
    }

    @Test(arguments: ["", "x", "77 ", "-1 ", "0 ", "007 ", "9007199254740993 ", "7", "7x "])
    func `no publication`(position: String) {
        var message = ByteBuffer(string: "\(Incarnation(high: 1, low: 2).description) ")
        message.writeString(position)
        if position == "77 " { message.writeString("nonsense") } else { message.writeImmutableBuffer(body.encoded()) }
        if position == "007 " {
            // Redis writes no leading zeros, but a position that can be read is one.
            #expect(LogEntry.decode(published: message)?.1.position == 7)
        } else {
            #expect(LogEntry.decode(published: message) == nil)
        }
    }

    @Test func `numbers in Redis`() {
        func position(_ text: String) -> LogPosition? { RedisNumber.position(ByteBuffer(string: text)) }
        #expect(position("0") == 0)
        #expect(position("9007199254740992") == 9_007_199_254_740_992)
        for bad in ["", "9007199254740993", "99999999999999999", "-1", "+1", "1e+14", "1.0", " 1", "٥"] {
            #expect(position(bad) == nil, "\(bad)")
        }
        func streamID(_ text: String) -> LogPosition? { RedisNumber.streamID(ByteBuffer(string: text)) }
        #expect(streamID("12-0") == 12)
        for bad in ["12", "12-1", "-0", "0", "", "12-00", "a-0", "1526919030474-55"] {
            #expect(streamID(bad) == nil, "\(bad)")
        }
    }

    /// 1024 tags of 256 bytes each are the longest entry: a stream of them must not fill Redis.
    @Test func `fewer entries are retained beside a long one`() {
        func retained(_ bytes: Int) -> String { String(buffer: CommandEncoding.retainedEntries(beside: bytes)) }
        #expect(retained(60) == "100000" && retained(671) == "100000")
        #expect(retained(1000) == "67108" && retained(263_000) == "255")
    }
}
