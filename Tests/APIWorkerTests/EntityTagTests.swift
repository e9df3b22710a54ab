import NIOCore
import NIOHTTP1
import Testing

@testable import apiworker

/// docs/http-api.md, "Conditional requests".
@Suite struct EntityTagTests {
    /// As `sha256sum` says.
    @Test func `192 bits of SHA-256 in quotes, of the bytes that can be read`() {
        for (text, tag) in [
            ("", "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934c\""),
            ("[]", "\"4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba87\""),
        ] { #expect(EntityTag(of: ByteBuffer(string: text)).description == tag) }
        var part = ByteBuffer(string: "x[]")
        part.moveReaderIndex(forwardBy: 1)
        #expect(EntityTag(of: part) == EntityTag(of: ByteBuffer(string: "[]")))
    }

    /// The second time it is known.
    @Test(arguments: [0, 100, PreparedBodies.inlineBytes, PreparedBodies.inlineBytes + 1, 1 << 20, 20 << 20])
    func `a tag that is kept is that of the body`(length: Int) async {
        let prepared = PreparedBodies()
        let bodies = (0..<20).map { ByteBuffer(repeating: UInt8($0), count: length) }
        for _ in 0..<2 {
            for body in bodies { #expect(await prepared.tag(of: body) == EntityTag(of: body)) }
        }
    }

    @Test func `what is written into a body has a tag of its own`() async {
        let prepared = PreparedBodies()
        var body = ByteBuffer(repeating: 1, count: 100_000)
        let before = await prepared.tag(of: body)
        body.setInteger(UInt8(2), at: 5000)
        let after = await prepared.tag(of: body)
        #expect(after == EntityTag(of: body) && after != before)
        // The same memory, but less of it.
        let part = body.getSlice(at: 0, length: 90_000) ?? ByteBuffer()
        #expect(await prepared.tag(of: part) == EntityTag(of: part))
    }

    @Test func `a head is made once in a second, and for a long body only when its tag is known`() async {
        let prepared = PreparedBodies()
        var made = 0
        func head(_ body: ByteBuffer, _ second: Int) -> String? {
            let head = prepared.head(of: body, second: second) { tag in
                made += 1
                return HTTPResponseHead(version: .http1_1, status: .ok, headers: ["ETag": tag.description])
            }
            return head?.headers.first(name: "etag")
        }
        let (short, long) = (ByteBuffer(string: "[]"), ByteBuffer(repeating: 1, count: 100_000))
        for second in [1, 1, 2] { #expect(head(short, second) == EntityTag(of: short).description) }
        #expect(made == 2)
        #expect(head(long, 1) == nil && made == 2)
        let tag = await prepared.tag(of: long)
        #expect(head(long, 1) == tag.description && made == 3)
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
