import NIOCore
import NIOPosix
import Sieve
import Synchronization

/// Cached bodies in gzip, each compressed once (docs/http-api.md, "Compression"). Bodies are found by their `ETag`,
/// whoever loaded them.
final class CompressedBodies: Sendable {
    private struct State {
        /// `nil`: the body would not become smaller.
        var entries: SieveCache<EntityTag, ByteBuffer?>
        /// Running compressions, which other requests can wait for.
        var tasks: [EntityTag: Task<ByteBuffer?, Never>] = [:]
    }

    /// Shorter bodies are not compressed: they fit into one packet.
    static let minimumBytes = 1024
    /// Longer bodies are compressed on a separate thread. Compressing one takes about a millisecond.
    private static let threadBytes = 64 << 10
    /// The cost of an entry in addition to its bytes, in bytes.
    private static let overheadBytes = 512

    private let state: Mutex<State>

    /// - Returns: `nil` for 0 bytes: no compression.
    init?(byteBudget: Int) {
        guard byteBudget > 0 else { return nil }
        state = Mutex(State(entries: SieveCache(byteBudget: byteBudget)))
    }

    /// A body in gzip; `nil` if the plain body should be sent.
    func compressed(_ body: ByteBuffer, tag: EntityTag) async -> ByteBuffer? {
        guard body.readableBytes >= Self.minimumBytes else { return nil }
        let (entry, other) = state.withLock { ($0.entries.value(for: tag), $0.tasks[tag]) }
        if let entry { return entry }
        if let other { return await other.value }
        guard body.readableBytes > Self.threadBytes else { return keep(Gzip.compress(body), tag) }
        let task = Task { [self] in
            keep(try? await NIOThreadPool.singleton.runIfActive { Gzip.compress(body) }, tag)
        }
        state.withLock { if $0.tasks[tag] == nil { $0.tasks[tag] = task } }
        let result = await task.value
        state.withLock { if $0.tasks[tag] == task { $0.tasks[tag] = nil } }
        return result
    }

    private func keep(_ compressed: ByteBuffer?, _ tag: EntityTag) -> ByteBuffer? {
        let bytes = Self.overheadBytes + (compressed?.storageCapacity ?? 0)
        state.withLock { _ = $0.entries.insert(tag, compressed, bytes: bytes) }
        return compressed
    }

    /// Number of stored bodies, and their cost in bytes.
    var statistics: (entries: Int, bytes: Int) { state.withLock { ($0.entries.count, $0.entries.bytes) } }
}
