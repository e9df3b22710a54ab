import IPCWire
import NIOCore
import SyncCore

extension UpstreamFailure {
    private static let maximumBytes = 512

    /// The meaning of an error reply of Redis for the log. Every code that is known to occur has a separate line; an
    /// unknown one means "not now", which isolates and tries again.
    init(redisError text: ByteBuffer) {
        // The text of an error is limited to a few bytes, whatever the server sends.
        let part = text.getSlice(at: text.readerIndex, length: min(text.readableBytes, Self.maximumBytes))
        let message = String(buffer: part ?? ByteBuffer())
        // Before Redis 7, an error inside a script comes wrapped: "ERR Error running script …: WRONGTYPE …".
        if message.contains("DAMAGED") || message.contains("WRONGTYPE") {
            self = .damaged("the keys of the log hold something else: \(message)")
            return
        }
        // The texts of NOPERM inside a script: until Redis 7.0, and since then (Valkey, too).
        if message.contains("The user executing the script can't") || message.contains("ACL failure in script") {
            self = .denied("the Redis user may not do this (NOPERM): \(message)")
            return
        }
        if message.contains("READONLY") {
            self = .wrongRole("Redis is a replica (READONLY)")
            return
        }
        switch message.prefix(while: { $0 != " " }) {
        case "LOADING": self = .refused("Redis is loading its data (LOADING)")
        case "BUSY": self = .refused("Redis is busy with a script (BUSY)")
        case "OOM": self = .refused("Redis has no memory left (OOM): raise maxmemory or set volatile-lru")
        case "MISCONF": self = .refused("Redis cannot write to its disk (MISCONF)")
        case "NOREPLICAS": self = .refused("Redis has too few replicas (NOREPLICAS)")
        case "MASTERDOWN": self = .wrongRole("Redis is a replica without a primary (MASTERDOWN)")
        case "CLUSTERDOWN": self = .refused("the Redis cluster is down (CLUSTERDOWN)")
        case "TRYAGAIN", "ASK":
            self = .refused("the Redis cluster is moving keys (\(message.prefix { $0 != " " }))")
        case "UNBLOCKED": self = .wrongRole("Redis changed its role (UNBLOCKED)")
        case "MOVED":
            self = .wrongRole("another node of the cluster holds the log (\(message)): redis+cluster:// finds it")
        case "NOAUTH": self = .denied("Redis wants a password (NOAUTH): set it in REDIS_URL")
        case "WRONGPASS": self = .denied("Redis refuses user or password (WRONGPASS): check REDIS_URL")
        case "NOPERM": self = .denied("the Redis user may not do this (NOPERM): \(message)")
        case "EXECABORT": self = .refused(message)
        default:
            self =
                message.contains("max number of clients")
                ? .refused("Redis has no room for clients") : .refused(message)
        }
    }
}
