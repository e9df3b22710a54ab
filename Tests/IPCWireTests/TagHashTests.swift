import NIOCore
import Testing

@testable import IPCWire

/// The numbers were computed by an independent program (Python, from the two algorithms as published) and must
/// never change: clients in other languages compute the same.
@Suite struct TagHashTests {
    @Test(
        arguments: [
            ("", 0xefd0_1f60_ba99_2926), ("*", 0x1d27_3896_e864_1a1d), ("users", 0x0522_fd2d_9ac9_984d),
            ("user:42", 0x9988_17be_e671_8248), ("=users:all", 0x907e_d86f_c881_2298), ("\0", 0xb903_4ad3_7056_f5fb),
            ("é", 0x9d55_ccb9_ba86_763b), ("e\u{301}", 0x5b2b_2844_a45b_76da),
            ("user:64b7f0c2e4b0a1a2b3c4d5e6", 0x5930_a0be_9b14_1d1f),
            (String(repeating: "x", count: 256), 0x4a02_e6fd_2fb7_38e2),
        ] as [(String, UInt64)]) func `fixed vectors`(text: String, hash: UInt64)
    {
        #expect(TagHash.tag(ByteBuffer(string: text)) == hash)
    }

    @Test func `bytes that are no text`() {
        #expect(TagHash.tag(ByteBuffer(bytes: [0xff, 0xfe, 0x00, 0x0d, 0x0a])) == 0x41fd_80ac_36ac_30d4)
    }

    @Test func `a key has the tag of = and itself, and everything is *`() {
        #expect(TagHash.key(ByteBuffer(string: "users:all")) == 0x907e_d86f_c881_2298)
        #expect(TagHash.key(ByteBuffer(string: "users:all")) == TagHash.tag(ByteBuffer(string: "=users:all")))
        #expect(TagHash.everything == 0x1d27_3896_e864_1a1d)
    }

    @Test func `only the readable bytes count`() {
        var buffer = ByteBuffer(string: "xxusersyy")
        buffer.moveReaderIndex(forwardBy: 2)
        buffer.moveWriterIndex(to: 7)
        #expect(TagHash.tag(buffer) == TagHash.tag(ByteBuffer(string: "users")))
    }

    @Test(arguments: [(16, 0x984d), (20, 0x9984d), (24, 0xc9_984d)]) func `the slot is the low bits`(
        bits: Int, slot: UInt32
    ) {
        let table = TagTable.inMemory(slotBits: bits)
        #expect(table.slotIndex(TagHash.tag(ByteBuffer(string: "users"))) == slot)
    }
}
