import NIOCore
import Synchronization

/// The tags of the bodies that were hashed last, so that a large body that is requested often is hashed once: hashing
/// takes a tenth of the time of a response.
///
/// A body is identified by its memory address. While it is stored here, its memory can neither be reused nor change:
/// writing into a shared buffer makes a copy.
final class EntityTags: Sendable {
    private struct Known {
        var body: ByteBuffer
        var tag: EntityTag
    }

    private struct State {
        var known: [Known] = []
        /// The entry that is replaced next.
        var oldest = 0
    }

    /// Sizes in bytes. Shorter bodies are hashed quickly. Longer ones would take too much memory: a body stored here
    /// stays in memory after the caches have dropped it.
    static let bytes = 4 << 10...512 << 10
    /// Maximum number of stored bodies: one for each list that is requested often.
    static let limit = 8

    private let state = Mutex(State())

    func tag(of body: ByteBuffer) -> EntityTag {
        guard Self.bytes.contains(body.readableBytes) else { return EntityTag(of: body) }
        let known = state.withLock { state in state.known.first { $0.body.isSame(as: body) }?.tag }
        if let known { return known }
        let tag = EntityTag(of: body)
        state.withLock { state in
            guard state.known.count == Self.limit else { return state.known.append(Known(body: body, tag: tag)) }
            state.known[state.oldest] = Known(body: body, tag: tag)
            state.oldest = (state.oldest + 1) % Self.limit
        }
        return tag
    }
}

extension ByteBuffer {
    /// Whether both are the same memory.
    fileprivate func isSame(as other: ByteBuffer) -> Bool {
        withUnsafeReadableBytes { bytes in
            other.withUnsafeReadableBytes { $0.baseAddress == bytes.baseAddress && $0.count == bytes.count }
        }
    }
}
