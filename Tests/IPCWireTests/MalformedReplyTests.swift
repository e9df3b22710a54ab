import NIOCore
import Testing

@testable import IPCWire

/// Well-formed RESP that is not what the protocol says is an error, never a guess.
@Suite struct MalformedReplyTests {
    private func value(_ text: String) throws -> RESPValue {
        var decoder = RESPDecoder(limits: WireLimits())
        decoder.feed(ByteBuffer(string: text.split(separator: " ").joined(separator: "\r\n") + "\r\n"))
        return try #require(try decoder.next())
    }

    @Test(arguments: [
        "+OK", ":1", "_", "*0", "*1 +other", "*1 :1", "*1 +hit", "*5 +hit $-1 :1 :1 *0", "*6 +hit :1 :1 :1 *0 :1",
        "*6 +hit _ :-1 :1 *0 :1", "*6 +hit _ :1 +1 *0 :1", "*6 +hit _ :1 :1 _ :1", "*6 +hit _ :1 :1 *1 :1 :1",
        "*3 +lease :1 :1", "*4 +lease :-1 :1 :1", "*4 +lease _ :1 :1", "*1 +wait", "*2 +wait _", "*2 +wait :-1",
        "%1 +hit :1", ">1 +miss", "~1 +miss",
    ]) func `of a fetch`(text: String) throws {
        let value = try value(text)
        #expect(throws: MalformedReply.self) { try FetchReply(value) }
    }

    @Test(arguments: [
        "+heartbeat", "*2 +heartbeat :1", ">0", ">1 :1", ">1 +unknown", ">1 +heartbeat",
        ">5 +heartbeat :1 :1 +attached :1",
        ">2 +epoch :-1",
        ">2 +epoch :1", ">2 +invalidate :1", ">3 +invalidate :1 _", ">3 +invalidate :1 *1 :1", ">2 +message +a",
        ">3 +pmessage +a +b", ">2 +fetched :1", ">3 +fetched +a +miss", ">3 +fetched :1 +other",
    ]) func `a push`(text: String) throws {
        let value = try value(text)
        #expect(throws: MalformedReply.self) { try Push.decode(value) }
    }

    @Test func `a greeting`() throws {
        var writer = RESPWriter(version: .v3)
        Reply.greeting(
            Greeting(
                version: "1", proto: .v3, clientID: 1, epoch: 1, incarnation: "i", applied: 1, state: .attached,
                logMode: .redis, table: "t", journal: "j", hasFeeds: false, trustWindowMilliseconds: 1000)
        ).encode(into: &writer)
        var decoder = RESPDecoder(limits: WireLimits())
        decoder.feed(writer.buffer)
        guard case .map(let parts) = try decoder.next() else {
            Issue.record("a greeting is a map")
            return
        }
        // Without any one of its fields but the three that are there for stock clients only.
        for index in stride(from: 0, to: parts.count, by: 2) {
            var fewer = parts
            fewer.removeSubrange(index...index + 1)
            if [8, 10, 12].contains(index) {
                #expect(throws: Never.self) { try Greeting(.map(fewer)) }
            } else {
                #expect(throws: MalformedReply.self) { try Greeting(.map(fewer)) }
                var changed = parts
                changed[index + 1] = .null
                #expect(throws: MalformedReply.self) { try Greeting(.map(changed)) }
            }
        }
        #expect(throws: Never.self) {
            try Greeting(.map(parts + [.bulkString(ByteBuffer(string: "new")), .integer(1)]))
        }
        #expect(throws: MalformedReply.self) { try Greeting(.map(Array(parts.dropLast()))) }
        #expect(throws: MalformedReply.self) { try Greeting(.simpleString(ByteBuffer(string: "OK"))) }
        #expect(throws: MalformedReply.self) { try Greeting(try value("%1 +server +redis")) }
    }
}
