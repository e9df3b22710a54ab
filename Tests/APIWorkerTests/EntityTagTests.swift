import NIOCore
import Testing

@testable import apiworker

/// docs/http-api.md, "Conditional requests".
@Suite struct EntityTagTests {
    /// Every length of tail, and what libxxhash 0.8.1 says of it.
    @Test(
        arguments: [
            (0, 0xef46_db37_51d8_e999), (1, 0x1f25_c8d0_bc1f_4bb6), (3, 0x31d2_363f_52e5_64c9),
            (4, 0x9bb6_4b7d_66ee_9fda), (5, 0xc760_8efd_db70_51fe), (8, 0xdab9_9d95_c6f9_0092),
            (11, 0x7a52_cc94_57cf_1a1f), (12, 0xd52e_4078_33af_5133), (31, 0xa2aa_5f33_cc4a_6119),
            (32, 0x23c3_c17e_f790_fd97), (33, 0x50a7_cfc7_ba58_8784), (63, 0x5e3e_54b4_31c7_493c),
            (64, 0x0eb6_4b3e_f6ee_b01f), (100, 0xa61f_8d4c_170f_e531), (1000, 0x5f23_5fa0_33f1_a3fb),
        ] as [(Int, UInt64)])
    func `the hash`(length: Int, hash: UInt64) {
        let bytes = (0..<length).map { UInt8(truncatingIfNeeded: $0 * 7 + 3) }
        #expect(bytes.withUnsafeBytes(XXH64.hash) == hash)
        // From an odd address.
        #expect(([0] + bytes).withUnsafeBytes { XXH64.hash(UnsafeRawBufferPointer(rebasing: $0[1...])) } == hash)
    }

    @Test func `16 digits in quotes, of what can be read of the buffer`() {
        #expect(EntityTag(of: ByteBuffer(string: "[]")).description == "\"ccab0b28617f1f56\"")
        #expect(
            EntityTag(of: ByteBuffer(bytes: (0..<64).map { UInt8(truncatingIfNeeded: $0 * 7 + 3) })).description
                == "\"0eb64b3ef6eeb01f\"", "with zeros in front")
        var part = ByteBuffer(string: "x[]")
        part.moveReaderIndex(forwardBy: 1)
        #expect(EntityTag(of: part) == EntityTag(of: ByteBuffer(string: "[]")))
    }

    /// The second time it is known.
    @Test(arguments: [0, 100, EntityTags.bytes.lowerBound, 100_000, EntityTags.bytes.upperBound + 1])
    func `a tag that is kept is that of the body`(length: Int) {
        let tags = EntityTags()
        let bodies = (0..<2 * EntityTags.limit).map { ByteBuffer(repeating: UInt8($0), count: length) }
        for _ in 0..<3 {
            for body in bodies { #expect(tags.tag(of: body) == EntityTag(of: body)) }
            let last = bodies[bodies.count - 1]
            #expect(tags.tag(of: last) == EntityTag(of: last))
        }
    }

    @Test func `what is written into a body has a tag of its own`() {
        let tags = EntityTags()
        var body = ByteBuffer(repeating: 1, count: 10_000)
        let before = tags.tag(of: body)
        body.setInteger(UInt8(2), at: 5000)
        #expect(tags.tag(of: body) == EntityTag(of: body) && tags.tag(of: body) != before)
        // The same memory, but less of it.
        let part = body.getSlice(at: 0, length: 9000) ?? ByteBuffer()
        #expect(tags.tag(of: part) == EntityTag(of: part))
    }

    @Test(arguments: [
        #""a,b""#, #"W/"a,b""#, "*", " * ", #""x", "a,b""#, #""x","a,b","y""#, "\t\"a,b\" \t,", #", ,"a,b""#,
        #"W/"x", W/"a,b""#, #""", "a,b""#, #"unquoted, "a,b""#, #""x"y, "a,b""#,
    ])
    func `named`(field: String) {
        #expect(EntityTag.isNamed(#""a,b""#, in: field))
    }

    @Test(arguments: [
        "", " ", ",", #""""#, "a,b", #""a,b"#, #"a,b""#, #""A,B""#, #""a,b "#, #""a", "b""#, #"w/"a,b""#, #"W/ "a,b""#,
        #""a,b"x"#, #""x" "a,b""#, #"*, "x""#, "W/", "W/*", "**", #"'a,b'"#, #""a,b""c""#,
    ])
    func `not named`(field: String) {
        #expect(!EntityTag.isNamed(#""a,b""#, in: field))
    }
}
