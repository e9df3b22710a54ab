import NIOCore
import Testing

@testable import IPCWire

/// A frame that is too large is refused from its header alone; one that is allowed takes no more memory than it has
/// bytes.
@Suite struct LimitTests {
    private let limits = WireLimits()

    @Test func `a frame has exactly as many bytes as its limit, headers included`() {
        var limits = WireLimits()
        limits.frameBytes = 100
        // `*1`, `$86` and their line ends are 9 bytes.
        let header = Array("*1\r\n$91\r\n".utf8)
        #expect(
            CommandDecoder.decode(header + [UInt8](repeating: 97, count: 91) + [13, 10], limits: limits).count == 1)
        let error = "!\(RESPError.frameTooLarge(limit: 100))"
        #expect(CommandDecoder.decode("*1\r\n$92\r\n".pieces(1), limits: limits) == [error])
        #expect(RESPDecoder.decode("$96\r\n".pieces(1), limits: limits) == [error])
        #expect(RESPDecoder.decode("$95\r\n".pieces(1), limits: limits) == [])
        #expect(
            RESPDecoder.decode(
                "*2\r\n$40\r\n".pieces(1) + [40, 42].map { [UInt8](repeating: 97, count: $0)[...] }
                    + "$47\r\n".pieces(1), limits: limits
            ).last?.hasPrefix("!") == true)
    }

    @Test func `the sum of arguments is bounded, and so is the sum of values`() {
        var limits = WireLimits()
        limits.frameBytes = 1000
        let argument = "$100\r\n\(String(repeating: "a", count: 100))\r\n"
        let error = "!\(RESPError.frameTooLarge(limit: 1000))"
        #expect(
            CommandDecoder.decode(Array("*9\r\n" + String(repeating: argument, count: 9)), limits: limits).count == 1)
        #expect(
            CommandDecoder.decode(Array("*10\r\n" + String(repeating: argument, count: 10)), limits: limits) == [error])
        #expect(
            RESPDecoder.decode(Array("*10\r\n" + String(repeating: argument, count: 10)), limits: limits) == [error])
        let line = "+\(String(repeating: "a", count: 200))\r\n"
        #expect(RESPDecoder.decode(Array("*5\r\n" + String(repeating: line, count: 5)), limits: limits) == [error])
        // Attributes are skipped, but not without end.
        #expect(
            RESPDecoder.decode(Array("*1\r\n" + String(repeating: "|0\r\n", count: 251)), limits: limits) == [error])
        // Each frame begins anew.
        #expect(RESPDecoder.decode(Array(String(repeating: argument, count: 30)), limits: limits).count == 30)
    }

    @Test func `elements are counted over all aggregates of a frame`() {
        var limits = WireLimits()
        limits.frameElements = 10
        let error = "!\(RESPError.tooManyElements(limit: 10))"
        #expect(RESPDecoder.decode(Array("*2\r\n*4\r\n:1\r\n:2\r\n:3\r\n:4\r\n*5\r\n"), limits: limits) == [error])
        #expect(RESPDecoder.decode(Array("*2\r\n*4\r\n:1\r\n:2\r\n:3\r\n:4\r\n%3\r\n"), limits: limits) == [error])
        #expect(RESPDecoder.decode(Array("*2\r\n*4\r\n:1\r\n:2\r\n:3\r\n:4\r\n%2\r\n"), limits: limits) == [])
        #expect(CommandDecoder.decode(Array("*11\r\n"), limits: limits) == [error])
        #expect(
            RESPDecoder.decode(
                Array(String(repeating: "*10\r\n" + String(repeating: ":1\r\n", count: 10), count: 3)),
                limits: limits
            ).count == 3)
    }

    @Test(arguments: ["*1\r\n$16777200\r\n", "*65536\r\n", "$16777200\r\n", "*65536\r\n", "%32768\r\n", ">65536\r\n"])
    func `nothing is reserved because a header announces it`(header: String) {
        var commands = CommandDecoder(limits: limits)
        var replies = RESPDecoder(limits: limits)
        commands.feed(ByteBuffer(string: header + "$"))
        replies.feed(ByteBuffer(string: header + "$"))
        _ = commands.drain()
        _ = replies.drain()
        #expect(commands.heldBytes <= 64)
        #expect(replies.heldBytes <= 64)
    }

    @Test func `a command of 65 536 arguments, each read with a buffer of 64 KiB, keeps none of them`() throws {
        var decoder = CommandDecoder(limits: limits)
        let count = 65_536
        decoder.feed(ByteBuffer(string: "*\(count)\r\n"))
        for _ in 0..<count - 1 {
            var chunk = ByteBuffer()
            chunk.reserveCapacity(65_536)
            chunk.writeString("$1\r\na\r\n")
            decoder.feed(chunk)
            #expect(try decoder.next() == nil)
        }
        decoder.feed(ByteBuffer(string: "$1\r\na\r\n"))
        let arguments = try #require(try decoder.next())
        #expect(arguments.count == count)
        #expect(arguments.allSatisfy { $0 == ByteBuffer(string: "a") })
        #expect(arguments.reduce(0) { $0 + $1.storageCapacity } <= 16 * count)
    }

    @Test func `a large argument in one piece is not copied`() throws {
        var decoder = CommandDecoder(limits: limits)
        let chunk = ByteBuffer(string: "*2\r\n$60000\r\n\(String(repeating: "a", count: 60_000))\r\n$5\r\nab")
        decoder.feed(chunk)
        #expect(try decoder.next() == nil)
        decoder.feed(ByteBuffer(string: "cde\r\n"))
        let arguments = try #require(try decoder.next())
        #expect(arguments.map(\.readableBytes) == [60_000, 5])
        #expect(arguments[0].storageCapacity == chunk.storageCapacity)
    }
}

extension String {
    fileprivate func pieces(_ size: Int) -> [ArraySlice<UInt8>] { utf8.pieces(of: size) }
}
