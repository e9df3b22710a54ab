import NIOCore
import Testing

@testable import apiworker

/// The message queue of one client.
@Suite(.timeLimit(.minutes(10))) struct EventStreamTests {
    private static func texts(_ messages: [ByteBuffer]?) -> [String]? { messages?.map { String(buffer: $0) } }

    @Test func `what was offered is taken at once, in order`() async {
        let stream = EventStream(limit: 100)
        for text in ["a", "b"] { #expect(stream.offer(ByteBuffer(string: text))) }
        #expect(Self.texts(await stream.next()) == ["a", "b"])
        async let later = stream.next()
        #expect(stream.offer(ByteBuffer(string: "c")))
        #expect(Self.texts(await later) == ["c"])
    }

    @Test func `what is being written counts until more is asked for`() async {
        let stream = EventStream(limit: 10)
        #expect(stream.offer(ByteBuffer(string: "123456")))
        #expect(stream.offer(ByteBuffer(string: "1234")), "as much as there may be")
        #expect(!stream.offer(ByteBuffer(string: "1")))
        _ = await stream.next()
        #expect(!stream.offer(ByteBuffer(string: "1")))
        async let rest = stream.next()
        while !stream.offer(ByteBuffer(string: "x")) { await Task.yield() }
        #expect(Self.texts(await rest) == ["x"])
    }

    @Test func `a single message may be longer`() async {
        let stream = EventStream(limit: 10)
        #expect(stream.offer(ByteBuffer(repeating: 0x61, count: 1000)))
        #expect(!stream.offer(ByteBuffer(string: "1")))
        #expect(await stream.next()?.first?.readableBytes == 1000)
    }

    @Test func `the end comes after what is queued, and nothing after it`() async {
        let stream = EventStream(limit: 10)
        #expect(stream.offer(ByteBuffer(string: "a")))
        stream.end()
        #expect(stream.offer(ByteBuffer(repeating: 0x61, count: 11)), "there is nobody to be behind")
        #expect(Self.texts(await stream.next()) == ["a"])
        #expect(await stream.next() == nil)
        #expect(await stream.next() == nil)
    }

    @Test func `the end wakes who waits`() async {
        let stream = EventStream(limit: 10)
        async let next = stream.next()
        await Task.yield()
        stream.end()
        #expect(await next == nil)
    }
}
