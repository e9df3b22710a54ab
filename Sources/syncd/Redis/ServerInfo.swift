import SyncCore

/// What INFO tells about a server that matters here.
struct ServerInfo: Sendable, Equatable {
    /// `nil`: not shown.
    var identity: ServerIdentity?
    var version = ""
    var isPrimary = true
    var warnings: [String] = []

    init(_ text: String) {
        var fields: [Substring: Substring] = [:]
        for line in text.split(whereSeparator: \.isNewline) {
            guard let colon = line.firstIndex(of: ":") else { continue }
            let name = line[..<colon]
            if fields[name] == nil { fields[name] = line[line.index(after: colon)...] }
        }
        if let run = fields["run_id"], let replication = fields["master_replid"], !run.isEmpty, !replication.isEmpty,
            !run.contains(" "), !replication.contains(" ")
        {
            identity = ServerIdentity(runID: String(run), replicationID: String(replication))
        }
        let name = fields["server_name"].map { "\($0) " } ?? ""
        version = name + String(fields["valkey_version"] ?? fields["redis_version"] ?? "")
        isPrimary = fields["role"] != "slave"
        let policy = fields["maxmemory_policy"] ?? ""
        let isLimited = (fields["maxmemory"] ?? "0") != "0"
        if isLimited, policy.hasPrefix("allkeys") {
            warnings.append("maxmemory-policy \(policy) may evict the log: set volatile-lru")
        } else if isLimited, policy == "noeviction" {
            warnings.append("maxmemory-policy noeviction refuses invalidations when memory is full: set volatile-lru")
        }
    }
}
