import IPCWire
import NIOCore
import Testing

@testable import SyncCore

@Suite struct ReplyQueueTests {
    private var queue = ReplyQueue()

    @Test mutating func `answers leave in the order of the requests`() {
        let ids = (0..<4).map { _ in queue.open() }
        #expect(queue.next() == nil)
        queue.fill(ids[2], .reply(.integer(2)))
        queue.fill(ids[1], .reply(.integer(1)))
        #expect(queue.next() == nil, "the first is not answered")
        queue.fill(ids[0], .reply(.integer(0)))
        #expect(
            [queue.next(), queue.next(), queue.next()] == [
                .reply(.integer(0)), .reply(.integer(1)), .reply(.integer(2)),
            ])
        #expect(queue.next() == nil)
        #expect(queue.count == 1)
        queue.fill(ids[3], .reply(.integer(3)))
        #expect(queue.next() == .reply(.integer(3)))
        #expect(queue.count == 0)
    }

    @Test mutating func `only the first answer counts`() {
        let first = queue.open()
        queue.fill(first, .reply(.integer(1)))
        queue.fill(first, .reply(.integer(2)))
        #expect(queue.next() == .reply(.integer(1)))
        queue.fill(first, .reply(.integer(3)))
        queue.fill(99, .reply(.integer(4)))
        #expect(queue.next() == nil)
        #expect(queue.open() == first + 1)
        #expect(queue.next() == nil)
    }
}
