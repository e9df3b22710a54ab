import IPC
import NIOCore
import Testing

/// Keys and tags: names that are written as text and compared as bytes.
@Suite struct CacheNameTests {
    private static let binary = ByteBuffer(bytes: [0x61, 0x5c, 0xff, 0x00])

    @Test func `text with interpolations`() {
        let (id, page) = ("7", 2)
        let key: CacheKey = "price:\(id):\(page)"
        let tag: CacheTag = "product:\(id)"
        #expect(key.bytes == ByteBuffer(string: "price:7:2"))
        #expect(tag.bytes == ByteBuffer(string: "product:7"))
        #expect("\(key) \(tag)" == "price:7:2 product:7")
    }

    @Test func `a name of text is equal to one of the same bytes`() {
        let text = "größe"
        var chunk = ByteBuffer(string: "[größe]")
        chunk.moveReaderIndex(forwardBy: 1)
        chunk.moveWriterIndex(to: chunk.writerIndex - 1)
        #expect(CacheKey(text) == CacheKey(chunk) && CacheKey(text) == "größe")
        #expect(CacheTag(text) == CacheTag(chunk) && CacheTag(text) == "größe")
        #expect(Set([CacheKey(text), CacheKey(chunk), "größe"]).count == 1)
        #expect(Set([CacheTag(text), CacheTag(chunk), "größe"]).count == 1)
        #expect(CacheKey(text).bytes.readableBytes == 7)
    }

    @Test func `the same characters in other bytes are another name`() {
        let (composed, decomposed) = ("\u{e9}", "e\u{301}")
        #expect(composed == decomposed)
        #expect(CacheKey(composed) != CacheKey(decomposed))
        #expect(CacheTag(composed) != CacheTag(decomposed))
    }

    @Test func `bytes that are not UTF-8 are shown escaped`() {
        #expect(CacheKey(Self.binary).description == #"a\\\xff\x00"#)
        #expect(CacheTag(Self.binary).description == #"a\\\xff\x00"#)
        #expect(CacheKey(#"a\größe"#).description == #"a\größe"#)
        #expect(CacheTag("").description == "")
    }

    @Test func `an event of text`() {
        let event = Event(channel: ByteBuffer(string: "price:changed"), payload: ByteBuffer(string: "tea"))
        #expect(Event(channel: "price:changed", payload: "tea") == event)
        #expect(Event(channel: "price:changed", payload: ByteBuffer(string: "tea")) == event)
    }
}
