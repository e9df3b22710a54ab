import NIOCore
import Testing

@testable import IPCWire

/// A client that skips invalidations misses nothing else, however the bytes are cut.
@Suite struct SkippingTests {
    private static let pushes: [Push] = [
        .invalidate(position: 1, tags: [RoundTripTests.text]),
        .heartbeat(
            Heartbeat(epoch: 1, applied: 2, state: .attached, heartbeat: 3, freshAsOf: 4)),
        .invalidate(position: .greatest, tags: [RoundTripTests.awkward, RoundTripTests.text]),
        .invalidate(position: 123_456_789_012_345, tags: []),
        .invalidate(position: 7, tags: (0..<1024).map { ByteBuffer(string: "tag \($0)") }),
        .message(RoundTripTests.event),
        .invalidate(position: 8, tags: [ByteBuffer(), ByteBuffer(repeating: 10, count: 256)]),
        .epoch(5, reason: .slow),
    ]

    private static let bytes: [UInt8] = {
        var writer = RESPWriter(version: .v3)
        for push in pushes { push.encode(into: &writer) }
        return Array(writer.buffer.readableBytesView)
    }()

    /// The frames that are left, and how many invalidations were passed over.
    private func skipping(_ chunks: some Sequence<ArraySlice<UInt8>>) throws -> (left: [Push], skipped: Int) {
        var decoder = RESPDecoder(limits: WireLimits())
        var (left, skipped) = ([Push](), 0)
        for chunk in chunks {
            decoder.feed(ByteBuffer(bytes: chunk))
            repeat { skipped += decoder.skipInvalidations() } while try take(&decoder, &left)
        }
        #expect(decoder.bytesExamined == Self.bytes.count)
        return (left, skipped)
    }

    private func take(_ decoder: inout RESPDecoder, _ left: inout [Push]) throws -> Bool {
        guard let value = try decoder.next() else { return false }
        left.append(try #require(try Push.decode(value)))
        return true
    }

    private static func isInvalidation(_ push: Push) -> Bool {
        if case .invalidate = push { true } else { false }
    }

    @Test func `in one piece all are passed over whose numbers are short`() throws {
        let (left, skipped) = try skipping([Self.bytes[...]])
        // One position has as many digits as a number may have: that one is read.
        #expect(skipped == 4)
        #expect(left == Self.pushes.filter { !Self.isInvalidation($0) || $0 == Self.pushes[2] })
    }

    @Test(arguments: [1, 2, 3, 7, 19, 64, 4096]) func `in pieces`(size: Int) throws {
        let chunks = stride(from: 0, to: Self.bytes.count, by: size).map {
            Self.bytes[$0..<min($0 + size, Self.bytes.count)]
        }
        let (left, skipped) = try skipping(chunks)
        #expect(left.count + skipped == Self.pushes.count)
        #expect(left.filter { !Self.isInvalidation($0) } == Self.pushes.filter { !Self.isInvalidation($0) })
        #expect(Set(left).isSubset(of: Set(Self.pushes)))
    }

    @Test(arguments: [
        ">3\r\n$10\r\ninvalidate\r\n:01\r\n*0\r\n", ">3\r\n$10\r\ninvalidate\r\n:1\r\n*1\r\n$1\r\nab\r\n",
        ">3\r\n$10\r\ninvalidate\r\n:1\r\n*1\r\n:1\r\n", ">3\r\n$10\r\ninvalidate\r\n:-1\r\n*0\r\n",
        ">3\r\n$10\r\ninvalidate\r\n:1\r\n*65534\r\n", ">3\r\n$10\r\ninvalidates\r\n:1\r\n*0\r\n",
        ">3\r\n$10\r\nINVALIDATE\r\n:1\r\n*0\r\n", ">2\r\n$10\r\ninvalidate\r\n:1\r\n",
    ])
    func `what is not as it should be is left to the decoder`(text: String) throws {
        var decoder = RESPDecoder(limits: WireLimits())
        decoder.feed(ByteBuffer(string: text))
        #expect(decoder.skipInvalidations() == 0)
        #expect(decoder.drain() == RESPDecoder.decode(Array(text.utf8)))
    }
}
