import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// Own writes are known within limits.
@Suite struct CoveredWritesTests {
    @Test func `what is known of own writes is bounded`() {
        var covered = CoveredWrites()
        let count = UInt32(CoveredWrites.maximumTags)
        for number in 1...3 * count {
            let body = LogEntryBody(
                origin: 1, nonce: 1, eventChannel: nil, tags: [.text("user:\(number)")],
                operationTime: OperationTime(seconds: number, increment: 1))
            if let write = CoveredWrites.Write(body) { covered.add(write, bytes: 64) }
        }
        func covers(_ number: UInt32) -> Bool {
            covered.covers(
                FeedChange(
                    collection: .text("users"), time: OperationTime(seconds: number, increment: 1),
                    tags: [.text("user:\(number)")]))
        }
        #expect(covers(3 * count))
        #expect(covers(3 * count - count + 2), "as many as fit into one generation are known")
        #expect(!covers(1))
    }

    @Test func `long entries are forgotten sooner`() {
        var covered = CoveredWrites()
        let common = (0..<1000).map { ByteBuffer.text("common \($0)") }
        for number: UInt32 in 1...1000 {
            let body = LogEntryBody(
                origin: 1, nonce: 1, eventChannel: nil, tags: common + [.text("user:\(number)")],
                operationTime: OperationTime(seconds: number, increment: 1))
            if let write = CoveredWrites.Write(body) { covered.add(write, bytes: body.memoryBytes) }
        }
        func covers(_ number: UInt32) -> Bool {
            covered.covers(
                FeedChange(
                    collection: .text("users"), time: OperationTime(seconds: number, increment: 1),
                    tags: [.text("user:\(number)")]))
        }
        #expect(covers(1000) && !covers(1))
    }
}
