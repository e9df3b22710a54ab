import IPCWire
import NIOCore
import Testing

@testable import syncd

@Suite struct HiredisTests {
    private let reader = HiredisReader()

    private func read(_ text: String) throws -> [RESPValue] {
        let reader = try #require(reader)
        try reader.feed(ByteBuffer(string: text))
        var values: [RESPValue] = []
        while let value = try reader.next() { values.append(value) }
        return values
    }

    private static func bulk(_ text: String) -> RESPValue { .bulkString(ByteBuffer(string: text)) }

    @Test func `all types of RESP2`() throws {
        let values = try read(
            "+OK\r\n-ERR no\r\n:-7\r\n$3\r\na\r\n\r\n$0\r\n\r\n$-1\r\n*2\r\n*0\r\n*-1\r\n".replacing(
                "a\r\n\r\n", with: "abc\r\n"))
        #expect(
            values == [
                .simpleString(ByteBuffer(string: "OK")), .error(ByteBuffer(string: "ERR no")), .integer(-7),
                Self.bulk("abc"), Self.bulk(""), .null, .array([.array([]), .null]),
            ])
    }

    @Test func `byte by byte`() throws {
        let reader = try #require(reader)
        var values: [RESPValue] = []
        for byte in "*2\r\n$4\r\n\r\n\u{0}\r\r\n:12\r\n+PONG\r\n".utf8 {
            try reader.feed(ByteBuffer(bytes: [byte]))
            while let value = try reader.next() { values.append(value) }
        }
        #expect(
            values == [.array([Self.bulk("\r\n\u{0}\r"), .integer(12)]), .simpleString(ByteBuffer(string: "PONG"))])
    }

    @Test(arguments: [
        "hello\r\n", "%1\r\n+a\r\n+b\r\n", ">1\r\n+a\r\n", "_\r\n", "#t\r\n", "\r\n", "\u{0}\r\n",
        "*2147483647\r\n", "*65537\r\n", "*4294967296\r\n", "*-2\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
        "$-2\r\n",
    ])
    func `nonsense is an error, at once`(text: String) {
        #expect(throws: MalformedServerReply.self) { try read(text) }
    }

    @Test func `a poisoned reader stays so`() throws {
        let reader = try #require(reader)
        try reader.feed(ByteBuffer(string: "x\r\n"))
        #expect(throws: MalformedServerReply.self) { try reader.next() }
        #expect(throws: MalformedServerReply.self) {
            try reader.feed(ByteBuffer(string: "+OK\r\n"))
            _ = try reader.next()
        }
    }

    @Test func `a reply that never ends is cut off`() throws {
        let reader = try #require(HiredisReader(maximumBytes: 10_000))
        try reader.feed(ByteBuffer(string: "$536870912\r\n"))
        #expect(try reader.next() == nil)
        let chunk = ByteBuffer(repeating: 0x61, count: 4096)
        for _ in 0..<2 {
            try reader.feed(chunk)
            #expect(try reader.next() == nil)
        }
        try reader.feed(chunk)
        #expect {
            try reader.next()
        } throws: { ($0 as? MalformedServerReply)?.isTooLong == true }
    }

    /// Arrays in arrays are read as they come: what is not read yet stays small for ever.
    @Test func `a reply of endless arrays is cut off`() throws {
        let reader = try #require(HiredisReader(maximumBytes: 1 << 30))
        try reader.feed(ByteBuffer(string: "*60000\r\n"))
        #expect(try reader.next() == nil)
        let chunk = ByteBuffer(string: String(repeating: "*1\r\n:1\r\n", count: 1000))
        let error = #expect(throws: MalformedServerReply.self) {
            for _ in 0..<60 {
                try reader.feed(chunk)
                _ = try reader.next()
            }
        }
        #expect(error?.description == "a reply of too many elements")
    }

    @Test func `the elements of one reply do not count for the next`() throws {
        let reader = try #require(reader)
        let page = "*20000\r\n" + String(repeating: ":1\r\n", count: 20_000)
        for _ in 0..<10 {
            try reader.feed(ByteBuffer(string: page))
            guard case .array(let items) = try reader.next() else {
                Issue.record("no array")
                return
            }
            #expect(items.count == 20_000)
        }
    }

    @Test(arguments: ["+", "-", ":", "$", "*"]) func `a line that never ends is cut off`(type: String) throws {
        let reader = try #require(reader)
        try reader.feed(ByteBuffer(string: type))
        let chunk = ByteBuffer(repeating: 0x31, count: 4096)
        #expect(throws: MalformedServerReply.self) {
            for _ in 0..<17 {
                try reader.feed(chunk)
                _ = try reader.next()
            }
        }
    }

    @Test func `many replies in one chunk do not count as one`() throws {
        let reader = try #require(HiredisReader(maximumBytes: 10_000))
        for _ in 0..<100 {
            try reader.feed(ByteBuffer(string: String(repeating: "+PONG\r\n", count: 1000)))
            var count = 0
            while try reader.next() != nil { count += 1 }
            #expect(count == 1000)
        }
    }
}
