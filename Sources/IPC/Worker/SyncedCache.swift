import Logging
import NIOCore

/// stub
public final class SyncedCache: Sendable {
    let configuration: SyncedCacheConfiguration
    /// Notifications
    public let notifications: AsyncStream<CacheNotification>

    /// stub
    public init(configuration: SyncedCacheConfiguration, eventLoop: any EventLoop, logger: Logger) {
        self.configuration = configuration
        notifications = AsyncStream { _ in }
    }

    /// stub
    public func run() async throws {}

    /// stub
    public func value(
        for key: ByteBuffer, tags: [ByteBuffer], ttl: Duration,
        load: @escaping @Sendable () async throws -> ByteBuffer?
    ) async throws -> CachedValue {
        CachedValue(value: try await load(), source: .bypass)
    }

    /// stub
    public func invalidating<Value: Sendable>(
        _ tags: [ByteBuffer], write: @Sendable () async throws -> WriteResult<Value>
    ) async throws -> Value {
        switch try await write() {
        case .changed(let value, _), .unchanged(let value): value
        }
    }

    /// stub
    public func report(_ fields: [ReportField]) {}

    /// stub
    public var status: CacheStatus {
        CacheStatus(sync: .detached, redis: .unavailable, epoch: 0, applied: 0, l1: L1Statistics())
    }
}
