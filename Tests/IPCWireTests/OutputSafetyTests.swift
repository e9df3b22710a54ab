import NIOCore
import Testing

@testable import IPCWire

/// Data goes out in bulk strings, whose length says where they end. Nothing that a peer sent can end a line of ours
/// or begin a frame (the class of CVE-2025-67733).
@Suite struct OutputSafetyTests {
    /// Every byte, and what would begin another frame.
    static let hostile: [ByteBuffer] =
        (UInt8.min...UInt8.max).map { ByteBuffer(bytes: [0x61, $0, 0x62]) } + [
            ByteBuffer(string: "\r\n+OK\r\n"), ByteBuffer(string: "\n"), ByteBuffer(string: "\r"),
            ByteBuffer(string: "\\r\\n"), ByteBuffer(string: "\u{2028}\u{85}"),
            ByteBuffer(bytes: [0xff, 0xfe, 13, 10]),
        ]

    @Test(arguments: [RESPVersion.v2, .v3]) func `an error is one line whatever is in it`(version: RESPVersion) throws {
        for bytes in Self.hostile {
            var writer = RESPWriter(version: version)
            writer.error(code: "ERR", message: "'\(String(buffer: bytes))' is wrong")
            let output = Array(writer.buffer.readableBytesView)
            #expect(output.suffix(2) == [13, 10])
            #expect(output.dropLast(2).allSatisfy { (0x20...0x7e).contains($0) })
            var decoder = RESPDecoder(limits: WireLimits())
            decoder.feed(writer.buffer)
            guard case .error = try decoder.next() else {
                Issue.record("not an error")
                return
            }
            #expect(try decoder.next() == nil)
        }
    }

    /// Through the whole way: a command with hostile bytes in every place that an error may show.
    @Test func `what a refusal repeats is escaped`() throws {
        for bytes in Self.hostile {
            for arguments in [
                [bytes], [bytes, bytes], [ByteBuffer(string: "FETCH"), ByteBuffer(string: "k"), bytes],
                [ByteBuffer(string: "CLIENT"), bytes], [ByteBuffer(string: "INVALIDATE"), bytes],
                [ByteBuffer(string: "HELLO"), ByteBuffer(string: "3"), bytes],
            ] {
                do throws(ReplyError) {
                    _ = try Request.parse(arguments, limits: WireLimits())
                    Issue.record("not refused")
                } catch {
                    #expect(error.message.utf8.allSatisfy { (0x20...0x7e).contains($0) }, "\(error.message)")
                    var writer = RESPWriter(version: .v3)
                    Reply.error(error).encode(into: &writer)
                    let text = String(buffer: writer.buffer)
                    #expect(text == "-\(error.code.rawValue) \(error.message)\r\n")
                }
            }
        }
    }

    @Test func `protocol errors repeat nothing`() {
        let errors: [RESPError] = [
            .expectedArray, .expectedBulkString, .unknownType, .emptyCommand, .invalidLength, .invalidNumber,
            .invalidLineEnd, .lineTooLong, .frameTooLarge(limit: 1), .tooManyElements(limit: 1),
            .nestedTooDeep(limit: 1), .streamedType,
        ]
        #expect(Set(errors.map(\.description)).count == errors.count)
        for error in errors { #expect(error.description.utf8.allSatisfy { (0x20...0x7e).contains($0) }) }
    }

    @Test func `shown bytes can be told apart`() {
        #expect(
            ByteBuffer(bytes: [0, 9, 13, 10, 31, 32, 92, 126, 127, 255]).escaped
                == "\\x00\\x09\\x0d\\x0a\\x1f \\\\~\\x7f\\xff")
        #expect(Set(Self.hostile.map(\.escaped)).count == Set(Self.hostile).count)
    }

    @Test func `numbers are plain digits`() {
        var writer = RESPWriter(version: .v3)
        for number in [0, 9, 10, 99, 1 << 53, UInt64(Int64.max), UInt64.max] { writer.integer(number) }
        for number in [Int64.min, -1, 0, Int64.max] { writer.integer(number) }
        #expect(
            String(buffer: writer.buffer)
                == [
                    "0", "9", "10", "99", "9007199254740992", "9223372036854775807", "18446744073709551615",
                    "-9223372036854775808", "-1", "0", "9223372036854775807",
                ].map { ":\($0)\r\n" }.joined())
    }
}
