import IPC
import NIOCore

/// The state of this process in `GET /` and `GET /api/status`.
struct WorkerState: Sendable {
    let worker: WorkerIdentity
    let cache: SyncedCache
    let operations: MongoOperations
    private let startedAt = ContinuousClock.now

    init(worker: WorkerIdentity, cache: SyncedCache, operations: MongoOperations) {
        self.worker = worker
        self.cache = cache
        self.operations = operations
    }

    /// Time since the start.
    var uptime: Duration { ContinuousClock.now - startedAt }

    /// The body of `GET /`.
    var health: ByteBuffer {
        let status = cache.status
        var writer = JSONWriter()
        writer.object { writer in
            writer.field("status", "API is running")
            writer.field("worker", Int(worker.pid))
            writer.field("redis", status.redis.text)
            writer.field("sync", status.sync.rawValue)
        }
        return writer.buffer
    }

    /// The body of `GET /api/status`.
    var status: ByteBuffer {
        let status = cache.status
        let connections = operations.connections
        var writer = JSONWriter()
        writer.object { writer in
            writer.field("worker", Int(worker.pid))
            writer.field("redis", status.redis == .connected)
            writer.field("uptime", Int(uptime.components.seconds))
            writer.field("sync", status.sync.rawValue)
            writer.field("epoch", Int(clamping: status.epoch.number))
            writer.field("applied", Int(clamping: status.applied.number))
            writer.name("l1")
            writer.object { writer in
                writer.field("hits", status.l1.hits)
                writer.field("misses", status.l1.misses)
                writer.field("entries", status.l1.entries)
                writer.field("bytes", status.l1.bytes)
            }
            writer.name("mongo")
            writer.object { writer in
                writer.field("pool", connections.pool)
                writer.field("inUse", connections.inUse)
            }
        }
        return writer.buffer
    }
}

extension UpstreamMode {
    fileprivate var text: String {
        switch self {
        case .disabled: "disabled"
        case .connected: "connected"
        case .unavailable: "unavailable"
        }
    }
}
