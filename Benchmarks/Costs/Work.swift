import IPC
import IPCWire
import NIOCore
import SyncCore

/// The pieces of work that are counted.
enum Work: String, CaseIterable {
    /// A hit in a worker's own cache, with three tags.
    case l1Hit = "l1-hit"
    /// A key out of its bytes, with its hash. A worker makes some for each request, and others once.
    case makeKey = "make-key"
    /// From the bytes of a FETCH to a request.
    case decodeFetch = "decode-fetch"
    /// From the reply to its bytes.
    case encodeHit = "encode-hit"
    /// From these bytes to an outcome, at the worker.
    case decodeHit = "decode-hit"
    /// FETCH of a value in an embedded syncd, from bytes to bytes.
    case fetchHit = "fetch-hit"
    /// INVALIDATE at an embedded syncd, from bytes to bytes.
    case invalidate

    func run(_ count: Int) {
        switch self {
        case .l1Hit: Self.l1Hit(count)
        case .makeKey:
            let bytes = Self.key.bytes
            for _ in 0..<count { precondition(CacheKey(bytes).bytes.readableBytes > 0, "an empty key") }
        case .decodeFetch: Self.decodeFetch(count)
        case .encodeHit: Self.encodeHit(count)
        case .decodeHit: Self.decodeHit(count)
        case .fetchHit:
            let host = EmbeddedHost()
            host.fill()
            host.ask(EmbeddedHost.fetch, count)
        case .invalidate:
            let host = EmbeddedHost()
            host.ask(EmbeddedHost.invalidate, count)
        }
    }

    static let key: CacheKey = "user:000000000001"
    static let tags = ["users", "user:7", "friends:7"].map { ByteBuffer(string: $0) }
    static let value = ByteBuffer(repeating: UInt8(ascii: "v"), count: 100)

    private static func l1Hit(_ count: Int) {
        let table = TagTable.inMemory()
        table.setState(.attached)
        table.setHeartbeat(1)
        table.setFreshAsOf(1)
        let cache = L1Cache(byteBudget: 1 << 20) { 2 }
        cache.use(table)
        cache.insert(Hit(value: value, asOf: 5, ttlMilliseconds: 60_000, tags: tags, epoch: table.epoch), for: key)
        for _ in 0..<count { precondition(cache.value(for: key) != nil, "no hit") }
    }

    private static func decodeFetch(_ count: Int) {
        let bytes = EmbeddedHost.fetch
        var decoder = CommandDecoder(limits: WireLimits())
        for _ in 0..<count {
            decoder.feed(bytes)
            guard let arguments = try? decoder.next(),
                let request = try? Request.parse(arguments, limits: WireLimits()),
                case .fetch = request
            else { preconditionFailure("no request") }
        }
    }

    private static var hit: Reply {
        .fetched(.hit(Hit(value: value, asOf: 5, ttlMilliseconds: 59_999, tags: tags, epoch: 7)))
    }

    private static func encodeHit(_ count: Int) {
        let hit = Self.hit
        var writer = RESPWriter(version: .v3)
        for _ in 0..<count {
            writer.buffer.clear()
            hit.encode(into: &writer)
        }
        precondition(writer.buffer.readableBytes > 100, "nothing was written")
    }

    private static func decodeHit(_ count: Int) {
        var writer = RESPWriter(version: .v3)
        hit.encode(into: &writer)
        var decoder = RESPDecoder(limits: WireLimits())
        for _ in 0..<count {
            decoder.feed(writer.buffer)
            guard let value = try? decoder.next(), let reply = try? FetchReply(value), case .outcome(.hit) = reply
            else {
                preconditionFailure("no hit")
            }
        }
    }
}
