import NIOCore
import Synchronization

/// The tags of the bodies that were hashed last, so that a large one that is asked for again and again is hashed once:
/// hashing it takes a tenth of the time that its answer takes.
///
/// A body is known by where it lies in memory. While it is kept here nothing else can lie there, nor can it change:
/// whoever writes into a buffer of which there are two gets a copy.
final class EntityTags: Sendable {
    private struct Known {
        var body: ByteBuffer
        var tag: EntityTag
    }

    private struct State {
        var known: [Known] = []
        /// Which one goes next.
        var oldest = 0
    }

    /// Shorter ones are hashed at once, longer ones are not worth the memory: what is kept here is kept after the
    /// caches have dropped it.
    static let bytes = 4 << 10...512 << 10
    /// Bodies that are kept: one for each list that is asked for all the time.
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
    /// Whether both are the same piece of memory.
    fileprivate func isSame(as other: ByteBuffer) -> Bool {
        withUnsafeReadableBytes { bytes in
            other.withUnsafeReadableBytes { $0.baseAddress == bytes.baseAddress && $0.count == bytes.count }
        }
    }
}
