import NIOCore
import Testing

@testable import IPCWire

/// Keys and tags are bytes. Texts that look the same, or are the same to Unicode, are not the same here.
@Suite struct BytesTests {
    static let pairs: [([UInt8], [UInt8])] = [
        ([0xc3, 0xa9], [0x65, 0xcc, 0x81]),  // é, precomposed and decomposed
        ([0xe2, 0x84, 0xab], [0xc3, 0x85]),  // the Ångström sign and Å
        ([0xff], [0xfe]),  // both become U+FFFD as text
        ([0xc0, 0xaf], [0x2f]),  // an overlong slash
        ([0x61], [0x61, 0x00]), ([0x61], [0x41]), ([0xef, 0xbb, 0xbf, 0x61], [0x61]), ([0x61, 0x20], [0x61]),
    ]

    @Test(arguments: pairs) func `two keys stay two`(one: [UInt8], other: [UInt8]) throws {
        let (one, other) = (ByteBuffer(bytes: one), ByteBuffer(bytes: other))
        #expect(one != other)
        #expect(Set([one, other]).count == 2)
        #expect(TagHash.tag(one) != TagHash.tag(other))
        #expect(one.escaped != other.escaped)
        for key in [one, other] {
            var writer = RESPWriter(version: .v3)
            Request.invalidate(tags: [key], event: nil).encode(into: &writer)
            var decoder = CommandDecoder(limits: WireLimits())
            decoder.feed(writer.buffer)
            let arguments = try #require(try decoder.next())
            #expect(try Request.parse(arguments, limits: WireLimits()) == .invalidate(tags: [key], event: nil))
        }
        let table = TagTable.inMemory()
        table.raise(tags: [one], to: 5)
        #expect(table.slot(table.slotIndex(TagHash.tag(other))) == 0)
    }

    @Test func `a compacted copy is the same bytes in memory of its own`() {
        var chunk = ByteBuffer(repeating: 1, count: 65_536)
        let slice = chunk.readSlice(length: 3)
        #expect(slice?.compacted == slice)
        #expect((slice?.compacted.storageCapacity ?? .max) <= 64)
    }
}
