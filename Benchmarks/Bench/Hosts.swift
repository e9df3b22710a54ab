import IPC
import IPCWire
import NIOCore
import TestSupport

extension SyncdProcess {
    /// A daemon in its usual configuration: a table of the usual size in a tmpfs, no debug messages.
    static func forMeasuring(redis: RedisServer? = nil, environment: [String: String] = [:]) async throws
        -> SyncdProcess
    {
        var all = ["SYNCD_TABLE_BITS": "20", "LOG_LEVEL": "notice"]
        if let redis { all["REDIS_URL"] = "unix://\(redis.socketPath)" }
        all.merge(environment) { $1 }
        let syncd = try await SyncdProcess(
            redis: redis, environment: all, directory: try TemporaryDirectory(in: "/dev/shm"))
        try await syncd.waitUntilAttached()
        return syncd
    }

    /// The table that its workers read.
    func mappedTable() throws -> TagTable {
        try MappedTagTable(path: RuntimeDirectory.tagTable(socketPath: socketPath)).table
    }

    /// Stores values like a worker that loads them.
    func fill(keys: [String], tags: [String], value: ByteBuffer) throws {
        let wire = try Wire(path: socketPath)
        try wire.command("HELLO", "3")
        for key in keys {
            guard case .array(let parts) = try wire.command("FETCH", key), parts.count == 4,
                case .integer(let lease) = parts[1]
            else { throw TestFailure("no lease for \(key)") }
            let head = ["FILL", key, "\(lease)", "3600000", "\(tags.count)"] + tags
            let reply = try wire.command(head.map { ByteBuffer(string: $0) } + [value])
            guard reply == .simpleString(ByteBuffer(string: "OK")) else { throw TestFailure("FILL \(key): \(reply)") }
        }
    }
}

/// The keys that redis-benchmark requests.
enum Keys {
    static func benchmark(_ count: Int) -> [String] {
        (0..<count).map { number in
            let digits = String(number)
            return "key:" + String(repeating: "0", count: 12 - digits.count) + digits
        }
    }
    static let benchmarkPattern = "key:__rand_int__"
}

/// The value of most rows: 100 bytes.
let smallValue = ByteBuffer(repeating: UInt8(ascii: "v"), count: 100)
let threeTags = ["users", "user:7", "friends:7"]

/// Connections of workers: idle ones, or such that listen to invalidations.
final class Workers {
    private var wires: [Wire] = []
    private let syncd: SyncdProcess

    private let isTracking: Bool

    init(of syncd: SyncdProcess, isTracking: Bool = true) {
        self.syncd = syncd
        self.isTracking = isTracking
    }

    func grow(to count: Int) throws {
        while wires.count < count {
            let wire = try Wire(path: syncd.socketPath)
            try wire.command("HELLO", "3")
            if isTracking { try wire.command("TRACK", "ON") }
            wires.append(wire)
        }
    }

    /// Reads the waiting pushes.
    func drain() {
        // Idle ones have none, and 64 system calls in between would be measured as well.
        if isTracking { for wire in wires { while wire.drain() > 0 {} } }
    }
}
