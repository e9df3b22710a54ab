import IPCWire
import NIOCore

/// How a value gets a successor before its time is over (docs/cache.md, "Early refresh").
///
/// syncd hands out a lease only for a key that it has not got. So a value that is asked for often lives under two keys
/// in turn, its own and one beside it: near the end of one, the workers ask syncd for the other. The first gets its
/// lease, loads and fills; the others find it there. Both have the same tags, and the one beside it is tagged with
/// its owner's key, too, so that whatever invalidates one invalidates both.
package enum EarlyRefresh {
    /// Under which key syncd has a value.
    enum Home: Sendable {
        case key
        case beside

        var other: Home { self == .key ? .beside : .key }
    }

    /// Keys at once, per worker.
    static let limit = 64
    /// From the end of an attempt to the next for the same key.
    static let pauseNanoseconds: UInt64 = 1_000_000_000
    /// How long an attempt that does not end holds its place: longer than its lease is valid.
    static let longestNanoseconds: UInt64 = 15_000_000_000
    /// What a key ends with that lies beside another.
    static let suffix = ByteBuffer(bytes: [0] + "early".utf8)

    static func key(_ home: Home, of key: ByteBuffer) -> ByteBuffer {
        guard home == .beside else { return key }
        var beside = ByteBuffer()
        beside.reserveCapacity(key.readableBytes + suffix.readableBytes)
        beside.writeImmutableBuffer(key)
        beside.writeImmutableBuffer(suffix)
        return beside
    }

    /// The key that a value belongs to, which may lie under the one beside it.
    package static func owner(of key: ByteBuffer) -> ByteBuffer {
        let count = key.readableBytes - suffix.readableBytes
        guard count > 0, key.readableBytesView.suffix(suffix.readableBytes) == suffix.readableBytesView else {
            return key
        }
        return ByteBuffer(bytes: key.readableBytesView.prefix(count))
    }

    /// The tag that every entry of a key has.
    static func tag(of key: ByteBuffer) -> ByteBuffer {
        var tag = ByteBuffer()
        tag.writeInteger(UInt8(ascii: "="))
        tag.writeImmutableBuffer(key)
        return tag
    }
}

extension SyncedCache {
    /// Gets a successor in the background. Whatever goes wrong, the value in use ends as it would have.
    ///
    /// Never inlined: what a task needs would be made room for at every hit, which is a tenth of its time.
    @inline(never)
    func refresh(
        _ key: ByteBuffer, _ tags: [ByteBuffer], _ ttl: Duration, into home: EarlyRefresh.Home,
        _ load: @escaping @Sendable () async throws -> Loaded
    ) {
        // The tag of its owner, which the other key has by itself.
        let owner = home == .beside ? [EarlyRefresh.tag(of: key)] : []
        let question = Question(
            key: EarlyRefresh.key(home, of: key), tags: tags + owner, ttl: ttl, load: load, owner: key, home: home)
        guard isCacheable(key: question.key, tags: question.tags), let connection = session.current.connection else {
            return l1.refreshEnded(of: key)
        }
        Task(priority: .utility) { [self] in
            let remaining = l1.remainingMilliseconds(of: key)
            switch await connection.fetch(question.key, waitMilliseconds: 0) {
            case .success(.hit(let hit)) where hit.ttlMilliseconds > remaining:
                l1.insert(hit, for: key, lifetimeMilliseconds: milliseconds(ttl), home: home)
            case .success(.lease(let lease)):
                _ = await self.load(question, under: lease, over: connection, flight: Flight())
            case .success, .failure: break
            }
            // Ends early only if the worker does.
            try? await clock.sleep(clock.now() + EarlyRefresh.pauseNanoseconds)
            l1.refreshEnded(of: key)
        }
    }
}
