import IPCWire
import NIOCore

/// Loads a new value before the old one expires (docs/cache.md, "Early refresh").
///
/// syncd gives a lease only for a key that it has no value for. So a popular value is stored under two keys by turns,
/// its own and a second one: when one is about to expire, the workers ask syncd for the other. The first worker gets
/// its lease, loads and fills; the others find the value. Both have the same tags, and the second entry is tagged with
/// its owner's key, too, so that every invalidation of one invalidates both.
package enum EarlyRefresh {
    /// The key under which syncd has a value.
    enum Home: Sendable {
        case key
        case beside

        var other: Home { self == .key ? .beside : .key }
    }

    /// Maximum number of concurrent refreshes per worker.
    static let limit = 64
    /// Time from the end of an attempt to the next one for the same key.
    static let pauseNanoseconds: UInt64 = 1_000_000_000
    /// Maximum time of an attempt that does not end: longer than its lease is valid.
    static let longestNanoseconds: UInt64 = 15_000_000_000
    /// The suffix of the second key.
    static let suffix = ByteBuffer(bytes: [0] + "early".utf8)

    static func key(_ home: Home, of key: ByteBuffer) -> ByteBuffer {
        guard home == .beside else { return key }
        var beside = ByteBuffer()
        beside.reserveCapacity(key.readableBytes + suffix.readableBytes)
        beside.writeImmutableBuffer(key)
        beside.writeImmutableBuffer(suffix)
        return beside
    }

    /// The key that a value belongs to. The value may be stored under the second key.
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
    /// Loads a new value in the background. Whatever goes wrong, the value in use expires as it would have without it.
    ///
    /// Never inlined: otherwise every hit would reserve stack space for the task, which takes a tenth of its time.
    @inline(never)
    func refresh(
        _ key: ByteBuffer, _ tags: [ByteBuffer], _ ttl: Duration, into home: EarlyRefresh.Home,
        _ load: @escaping @Sendable () async throws -> Loaded
    ) {
        // The owner's tag, which the first key has anyway.
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
            // The sleep ends early only if the worker does.
            try? await clock.sleep(clock.now() + EarlyRefresh.pauseNanoseconds)
            l1.refreshEnded(of: key)
        }
    }
}
