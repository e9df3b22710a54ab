import NIOCore
import Testing

@testable import IPCWire

/// However bytes arrive, each is looked at once. Counted, not timed.
@Suite struct LinearityTests {
    /// An array of strings of 1 KiB, `count` bytes in all, about.
    private static func array(_ count: Int) -> [UInt8] {
        let element = Array("$1024\r\n\(String(repeating: "x", count: 1024))\r\n".utf8)
        let elements = count / element.count + 1
        return Array("*\(elements)\r\n".utf8) + (0..<elements).flatMap { _ in element }
    }
    private static func blob(_ count: Int) -> [UInt8] {
        Array("*1\r\n$\(count)\r\n".utf8) + [UInt8](repeating: 120, count: count) + [13, 10]
    }

    @Test(arguments: [1, 4096]) func `an array of 10 MB`(size: Int) throws {
        try check(CommandDecoder(limits: WireLimits()), Self.array(10_000_000), size)
    }

    @Test(arguments: [(1, 1_000_000), (4096, 10_000_000)]) func `an array of values`(size: Int, count: Int) throws {
        try check(RESPDecoder(limits: WireLimits()), Self.array(count), size)
    }

    @Test(arguments: [(1, 1_000_000), (4096, 10_000_000)]) func `one long string`(size: Int, count: Int) throws {
        try check(CommandDecoder(limits: WireLimits()), Self.blob(count), size)
        try check(RESPDecoder(limits: WireLimits()), Self.blob(count), size)
    }

    private func check<Decoder: FrameDecoder>(_ fresh: Decoder, _ bytes: [UInt8], _ size: Int) throws {
        var decoder = fresh
        var rest = ByteBuffer(bytes: bytes)
        var frames = 0
        while let chunk = rest.readSlice(length: min(size, rest.readableBytes)), chunk.readableBytes > 0 {
            decoder.feed(chunk)
            while try decoder.next() != nil { frames += 1 }
        }
        #expect(frames == 1)
        #expect(decoder.bytesExamined == bytes.count)
        #expect(decoder.heldBytes == 0)
    }

    @Test func `a chunk that is taken in many frames is looked at once`() throws {
        let frame = Array("*1\r\n$4\r\nPING\r\n".utf8)
        let count = 100_000
        var decoder = CommandDecoder(limits: WireLimits())
        decoder.feed(ByteBuffer(bytes: (0..<count).flatMap { _ in frame }))
        var frames = 0
        while try decoder.next() != nil { frames += 1 }
        #expect(frames == count)
        #expect(decoder.bytesExamined == count * frame.count)
    }

    /// `*65536` and empty strings: the most elements for the fewest bytes.
    @Test func `empty elements cost no memory of their own`() throws {
        var decoder = CommandDecoder(limits: WireLimits())
        decoder.feed(ByteBuffer(string: "*65536\r\n"))
        let element = ByteBuffer(string: "$0\r\n\r\n")
        for _ in 0..<65_535 {
            decoder.feed(element)
            #expect(try decoder.next() == nil)
            #expect(decoder.heldBytes <= 16)
        }
        decoder.feed(element)
        let arguments = try #require(try decoder.next())
        #expect(arguments.count == 65_536)
        #expect(arguments.allSatisfy { $0.storageCapacity <= 16 })
    }
}
