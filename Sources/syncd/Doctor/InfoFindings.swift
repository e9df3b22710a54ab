import IPC

/// Findings in a server's INFO.
enum InfoFindings {
    static func all(_ fields: InfoFields) -> [Finding] {
        let info = ServerInfo(fields)
        return [
            server(fields, info), identity(info), eviction(info.eviction), memory(fields, info), replication(fields),
            persistence(fields),
        ]
    }

    // MARK: The process

    /// The product and its version, whatever INFO shows: `server_name`, else the first `<name>_version`.
    static func server(_ fields: InfoFields, _ info: ServerInfo) -> Finding {
        let others: Set<Substring> = ["redis_version", "gcc_version", "valkey_version", "clang_version"]
        let own = fields.names.first { $0.hasSuffix("_version") && !others.contains($0) }
        var text = info.version
        if fields["server_name"] == nil { text = "redis \(text)" }
        if let own, fields["server_name"] == nil {
            text = "\(own.dropLast("_version".count)) \(fields.shown(String(own)) ?? ""), which says that it is \(text)"
        }
        let mode = fields.shown("redis_mode").map { ", \($0)" } ?? ""
        guard !info.version.isEmpty else {
            return Finding(
                .server, .note, "INFO shows no version", follows: "the other checks say whether the server can be used")
        }
        return Finding(
            .server, info.isTooOld ? .failure : .ok, text + mode,
            follows: info.isTooOld ? "versions before 6.2 lack what syncd needs" : nil,
            remedy: info.isTooOld ? "upgrade to Redis 6.2 or newer, or to Valkey" : nil,
            figures: [StatusField("version", .text(info.version))])
    }

    static func identity(_ info: ServerInfo) -> Finding {
        guard info.identity == nil else {
            return Finding(.identity, .ok, "INFO shows the process (run_id, master_replid)")
        }
        return Finding(
            .identity, .warning, "INFO shows no run_id or no master_replid",
            follows:
                "a reconnect to the same process cannot be told from one to another: every reconnect costs a cold cache on every host",
            remedy: "none, if the service does not show them")
    }

    // MARK: Memory

    static func eviction(_ eviction: ServerInfo.Eviction) -> Finding {
        switch eviction {
        case .values(let policy): return Finding(.eviction, .ok, "maxmemory-policy \(policy): only values are evicted")
        case .unlimited(let policy):
            return Finding(.eviction, .ok, "no maxmemory, so that nothing is evicted (maxmemory-policy \(policy))")
        case .unknown:
            return Finding(
                .eviction, .note, "INFO does not show maxmemory-policy",
                follows: "an evicted log would cost a cold cache on every host",
                remedy: "find out in the service's settings whether keys without a time to live can be evicted")
        case .everything(let policy):
            return Finding(
                .eviction, .warning, "maxmemory-policy \(policy)",
                follows: "the log may be evicted like any key: then it is replaced, and every host has a cold cache",
                remedy: "set maxmemory-policy volatile-lru")
        case .nothing:
            return Finding(
                .eviction, .warning, "maxmemory-policy noeviction, with a maxmemory",
                follows: "full memory refuses invalidations: hosts are isolated until there is memory",
                remedy: "set maxmemory-policy volatile-lru")
        case .unnamed(let policy):
            return Finding(
                .eviction, .warning, "maxmemory-policy \(policy), which is unknown",
                follows: "the log, which has no time to live, may be evicted: a cold cache on every host",
                remedy: "set maxmemory-policy volatile-lru, or find out what the policy evicts")
        }
    }

    static func memory(_ fields: InfoFields, _ info: ServerInfo) -> Finding {
        guard let used = fields.number("used_memory") else {
            return Finding(.memory, .note, "INFO does not show used_memory")
        }
        let limit = fields.number("maxmemory") ?? 0
        let figures = [StatusField("used-bytes", .number(used)), StatusField("limit-bytes", .number(limit))]
        guard limit > 0 else { return Finding(.memory, .ok, "\(bytes(used)) in use, no maxmemory", figures: figures) }
        let seen = "\(bytes(used)) of \(bytes(limit)) in use"
        // With a policy that evicts values, full memory is the normal state.
        guard used >= limit - limit / 10, info.eviction == .nothing else {
            return Finding(.memory, .ok, seen, figures: figures)
        }
        return Finding(
            .memory, .warning, seen, follows: "soon the server refuses invalidations (OOM): hosts are isolated",
            remedy: "raise maxmemory, or set maxmemory-policy volatile-lru", figures: figures)
    }

    static func bytes(_ bytes: UInt64) -> String {
        switch bytes {
        case 0..<10_240: "\(bytes) B"
        case 10_240..<10_485_760: "\(bytes >> 10) KiB"
        default: "\(bytes >> 20) MiB"
        }
    }

    // MARK: Copies

    static func replication(_ fields: InfoFields) -> Finding {
        guard let replicas = fields.number("connected_slaves") else {
            return Finding(.replication, .note, "INFO does not show replicas")
        }
        let figures = [StatusField("replicas", .number(replicas))]
        if let good = fields.number("min_slaves_good_slaves"), good == 0 {
            return Finding(
                .replication, .warning, "too few replicas for min-replicas-to-write",
                follows: "the server refuses invalidations (NOREPLICAS): hosts are isolated",
                remedy: "repair the replicas, or lower min-replicas-to-write", figures: figures)
        }
        let count = replicas == 1 ? "1 replica is connected" : "\(replicas) replicas are connected"
        return Finding(
            .replication, .ok, count,
            follows: replicas == 0
                ? "nothing takes over if this server fails: hosts are isolated until it is back"
                : "a failover replaces the log: every cache is cold once", figures: figures)
    }

    static func persistence(_ fields: InfoFields) -> Finding {
        guard let isAppending = fields["aof_enabled"] else {
            return Finding(.persistence, .note, "INFO does not show persistence")
        }
        let failed = ["rdb_last_bgsave_status", "aof_last_write_status"].filter { (fields[$0] ?? "ok") != "ok" }
        if !failed.isEmpty {
            return Finding(
                .persistence, .warning, "the last save failed (\(failed.joined(separator: ", ")))",
                follows: "the server may refuse invalidations (MISCONF): hosts are isolated",
                remedy: "look at its disk and its log")
        }
        return Finding(
            .persistence, .ok, isAppending == "1" ? "append-only file" : "no append-only file",
            follows: "every restart replaces the log, with saved data or without: every cache is cold once")
    }
}
