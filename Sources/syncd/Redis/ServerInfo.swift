import NIOCore
import SyncCore

/// The used part of a server's INFO.
struct ServerInfo: Sendable, Equatable {
    /// `nil`: not shown.
    var identity: ServerIdentity?
    /// Product and number: `Redis 7.0.15`, `valkey 8.0.1`; without a product where INFO shows none.
    var version = ""
    /// The version lacks commands that syncd needs.
    var isTooOld = false
    var isPrimary = true
    /// The server is a node of a cluster.
    var isClusterNode = false
    var eviction = Eviction.unknown
    var clients: Clients?
    /// Findings that endanger log or cache, each with its consequence and its remedy. The texts do not change while the
    /// finding stays the same.
    var warnings: [String] = []

    /// The consequence of `maxmemory-policy` for the log, which has no time to live.
    enum Eviction: Sendable, Equatable {
        /// INFO does not show the policy.
        case unknown
        /// There is no `maxmemory`.
        case unlimited(policy: String)
        /// Only values are evicted.
        case values(policy: String)
        /// The log may be evicted, too.
        case everything(policy: String)
        /// Full memory refuses invalidations.
        case nothing
        /// A policy whose name says neither.
        case unnamed(policy: String)
    }

    /// Number of connections, of which the server refuses those beyond its limit.
    struct Clients: Sendable, Equatable {
        var connected: UInt64
        var limit: UInt64

        /// Nine of ten possible connections are in use.
        var isNearlyFull: Bool { limit > 0 && connected >= limit - limit / 10 }
    }

    init(_ reply: ByteBuffer) { self.init(InfoFields(reply)) }

    init(_ text: String) { self.init(InfoFields(text)) }

    init(_ fields: InfoFields) {
        if let run = fields["run_id"], let replication = fields["master_replid"], Self.isName(run),
            Self.isName(replication)
        {
            identity = ServerIdentity(runID: String(run), replicationID: String(replication))
        }
        let name = fields["server_name"].map { "\($0) " } ?? ""
        // Valkey also reports a redis_version, 7.2.4.
        let number = fields["valkey_version"] ?? fields["redis_version"] ?? ""
        version = InfoFields.shown(name + number)
        isTooOld = fields["valkey_version"] == nil && Self.isOld(number)
        isPrimary = fields["role"] != "slave"
        isClusterNode = fields["cluster_enabled"] == "1"
        eviction = Self.eviction(fields)
        if let connected = fields.number("connected_clients"), let limit = fields.number("maxclients") {
            clients = Clients(connected: connected, limit: limit)
        }
        warnings = [
            isTooOld ? "version \(version) is older than 6.2: it lacks what syncd needs" : nil, evictionWarning,
            clients?.isNearlyFull == true ? Self.fullWarning(clients?.limit ?? 0) : nil,
        ].compactMap { $0 }
    }

    private var evictionWarning: String? {
        switch eviction {
        case .unknown, .unlimited, .values: nil
        case .everything(let policy): "maxmemory-policy \(policy) may evict the log: set volatile-lru"
        case .nothing: "maxmemory-policy noeviction refuses invalidations when memory is full: set volatile-lru"
        case .unnamed(let policy): "maxmemory-policy \(policy) is unknown and may evict the log: set volatile-lru"
        }
    }

    private static func fullWarning(_ limit: UInt64) -> String {
        "nine of ten possible connections are in use (maxclients \(limit)): further hosts may be refused"
    }

    private static func eviction(_ fields: InfoFields) -> Eviction {
        guard let policy = fields.shown("maxmemory_policy"), !policy.isEmpty else { return .unknown }
        let isLimited = (fields["maxmemory"] ?? "0") != "0"
        switch policy.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false).first {
        case "noeviction" where policy == "noeviction": return isLimited ? .nothing : .unlimited(policy: policy)
        case "allkeys": return isLimited ? .everything(policy: policy) : .unlimited(policy: policy)
        case "volatile": return isLimited ? .values(policy: policy) : .unlimited(policy: policy)
        // The limit of such a server may be elsewhere, too.
        default: return .unnamed(policy: policy)
        }
    }

    /// Ids are stored in the record of the log: 40 hexadecimal digits, or another form in managed services.
    private static func isName(_ text: Substring) -> Bool {
        (2...128).contains(text.utf8.count) && text.utf8.allSatisfy { (0x21...0x7e).contains($0) }
    }

    private static func isOld(_ version: Substring) -> Bool {
        let numbers = version.split(separator: ".").prefix(2).compactMap { Int($0) }
        guard numbers.count == 2 else { return false }
        return numbers[0] < 6 || (numbers[0] == 6 && numbers[1] < 2)
    }
}
