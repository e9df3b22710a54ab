import NIOCore
import NIOHTTP1
import Sieve
import Synchronization

/// Bodies that were sent last, with their tags and the heads of their responses: a body is hashed once, and a hit in L1
/// only writes.
///
/// A body is identified by its memory address. While it is stored here, its memory can neither be reused nor change:
/// writing into a shared buffer makes a copy.
final class PreparedBodies: Sendable {
    private final class Prepared {
        let body: ByteBuffer
        let tag: EntityTag
        /// The head of the response in this second, in seconds since 1970.
        var head: (second: Int, head: HTTPResponseHead)?

        init(_ body: ByteBuffer, _ tag: EntityTag) {
            self.body = body
            self.tag = tag
        }
    }

    /// A body in memory.
    private struct BodyIdentity: Hashable {
        var address: UInt
        var bytes: Int
    }

    /// Maximum cost of all bodies in bytes: twice that of the longest value that is cached. A body that is stored here
    /// stays in memory after the caches have dropped it.
    static let byteBudget = 16 << 20
    /// Longer bodies are hashed on another thread; hashing takes about a millisecond per MiB.
    static let inlineBytes = 16 << 10
    /// Cost of an entry in addition to its body, in bytes.
    private static let overheadBytes = 1024

    /// The tags that are being made, by the address of the body, which they keep.
    private let hashing = Mutex<[BodyIdentity: Task<EntityTag, Never>]>([:])
    private let state = Mutex(SieveCache<UInt, Prepared>(byteBudget: byteBudget))
    private let makeTag: @Sendable (ByteBuffer) -> EntityTag

    init(makeTag: @escaping @Sendable (ByteBuffer) -> EntityTag = { EntityTag(of: $0) }) { self.makeTag = makeTag }

    /// Hashes a body that will be asked for. Not for an event loop.
    func prepare(_ body: ByteBuffer) {
        let tag = EntityTag(of: body)
        state.withLock { _ = Self.keep(body, tag, &$0) }
    }

    /// The tag of a body. It is made once for all who ask meanwhile: thousands may have waited for one body, and some bodies
    /// are too long to be kept.
    nonisolated(nonsending) func tag(of body: ByteBuffer) async -> EntityTag {
        if let known = state.withLock({ Self.prepared(body, &$0)?.tag }) { return known }
        let identity = BodyIdentity(address: body.address, bytes: body.readableBytes)
        let hashing = hashing.withLock { hashing in
            if let task = hashing[identity] { return task }
            let task = Task.detached { [self] in
                let tag = makeTag(body)
                state.withLock { _ = Self.keep(body, tag, &$0) }
                self.hashing.withLock { $0[identity] = nil }
                return tag
            }
            hashing[identity] = task
            return task
        }
        return await hashing.value
    }

    /// The head of the response with a body.
    ///
    /// - Parameters:
    ///   - second: seconds since 1970; a head is made once in each.
    ///   - make: makes a head from the tag of the body.
    /// - Returns: `nil`: the body is long, and not known yet.
    func head(of body: ByteBuffer, second: Int, make: (EntityTag) -> HTTPResponseHead) -> HTTPResponseHead? {
        state.withLock { bodies in
            guard let prepared = Self.prepared(body, &bodies) else { return nil }
            if let head = prepared.head, head.second == second { return head.head }
            let head = make(prepared.tag)
            prepared.head = (second, head)
            return head
        }
    }

    /// The entry of a body, which is made if the body is short.
    private static func prepared(_ body: ByteBuffer, _ bodies: inout SieveCache<UInt, Prepared>) -> Prepared? {
        if let known = bodies.value(for: body.address), known.body.readableBytes == body.readableBytes { return known }
        return body.readableBytes <= inlineBytes ? keep(body, EntityTag(of: body), &bodies) : nil
    }

    private static func keep(
        _ body: ByteBuffer, _ tag: EntityTag, _ bodies: inout SieveCache<UInt, Prepared>
    ) -> Prepared {
        let prepared = Prepared(body, tag)
        bodies.insert(body.address, prepared, bytes: overheadBytes + body.storageCapacity)
        return prepared
    }
}
