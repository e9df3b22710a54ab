import NIOCore
import Synchronization
import TestSupport
import Testing

@testable import apiworker

/// Tags of bodies that many clients wait for.
@Suite struct PreparedBodiesTests {
    private final class Hashes: Sendable {
        let count = Mutex(0)
    }

    @Test func `the tag of a long body is made once, however many wait for it`() async {
        let hashes = Hashes()
        let bodies = PreparedBodies { body in
            hashes.count.withLock { $0 += 1 }
            return EntityTag(of: body)
        }
        // Too long to be kept.
        let body = ByteBuffer(repeating: 1, count: PreparedBodies.byteBudget + 1)
        let tags = await withTaskGroup(of: EntityTag.self) { group in
            for _ in 0..<200 { group.addTask { await bodies.tag(of: body) } }
            return await group.reduce(into: Set<String>()) { $0.insert($1.description) }
        }
        #expect(tags == [EntityTag(of: body).description])
        #expect(hashes.count.withLock { $0 } < 20, "those that asked meanwhile have shared it")
    }
}
