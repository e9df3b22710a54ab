import NIOCore
import Testing

@testable import IPCWire

/// Every item of both corpora, in every way in which its bytes can arrive.
@Suite struct DecodingTests {
    @Test(arguments: CommandCorpus.items) func `a command`(item: CorpusItem) { check(item, CommandDecoder.self) }

    @Test(arguments: ReplyCorpus.items) func `a reply`(item: CorpusItem) { check(item, RESPDecoder.self) }

    private func check<Decoder: FrameDecoder>(_ item: CorpusItem, _ type: Decoder.Type) {
        #expect(Decoder.decode(item.bytes) == item.expected)
        #expect(Decoder.decode(item.bytes.pieces(of: 1)) == item.expected, "byte by byte")
        #expect(Decoder.decode(item.bytes.pieces(of: 4)) == item.expected, "in pieces of four bytes")
        // A long item is split at its beginning, at its end, and here and there.
        let length = item.bytes.count
        let splits =
            length <= 256
            ? Array(0...length)
            : Array(0..<16) + stride(from: 16, to: length, by: max(1, length / 8)) + [length - 1]
        for split in splits {
            let chunks = [item.bytes[..<split], item.bytes[split...]]
            #expect(Decoder.decode(chunks) == item.expected, "split at \(split)")
        }
    }

    @Test func `a thousand frames in one read, and the beginning of another`() {
        let command = Array("*2\r\n$4\r\nECHO\r\n$2\r\n\r\n\r\n".utf8)
        let commands = (0..<1000).flatMap { _ in command } + command.dropLast()
        #expect(CommandDecoder.decode(commands) == Array(repeating: "[ECHO|\\x0d\\x0a]", count: 1000))
        let reply = Array("*2\r\n:7\r\n$1\r\na\r\n".utf8)
        let replies = (0..<1000).flatMap { _ in reply } + reply.dropLast()
        #expect(RESPDecoder.decode(replies) == Array(repeating: "*[:7 $a]", count: 1000))
    }

    @Test func `after an error there is nothing but that error, and nothing more is kept`() {
        var commands = CommandDecoder(limits: WireLimits())
        var replies = RESPDecoder(limits: WireLimits())
        commands.feed(ByteBuffer(string: "*1\r\n$1\r\na\r\n*1\r\n+"))
        replies.feed(ByteBuffer(string: "+a\r\n?\r\n"))
        #expect(commands.drain() == ["[a]", "!\(RESPError.expectedBulkString)"])
        #expect(replies.drain() == ["+a", "!\(RESPError.unknownType)"])
        for _ in 0..<3 {
            commands.feed(ByteBuffer(string: "*1\r\n$4\r\nPING\r\n"))
            replies.feed(ByteBuffer(string: "+OK\r\n"))
            #expect(commands.drain() == ["!\(RESPError.expectedBulkString)"])
            #expect(replies.drain() == ["!\(RESPError.unknownType)"])
        }
        #expect(commands.heldBytes == 0)
        #expect(replies.heldBytes == 0)
    }
}
