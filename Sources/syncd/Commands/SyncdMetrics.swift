import IPC
import ProcessSupport

/// The values of STATUS that become time series, with their names in Prometheus. No label has a value that a client can
/// choose.
enum SyncdMetrics {
    private struct Metric {
        var name: String
        var kind: PrometheusText.Kind
        var path: [String]
        var help: String
        /// The divisor for a value of STATUS.
        var unit = 1.0
    }

    private static let metrics = [
        Metric(
            name: "uptime_seconds", kind: .gauge, path: ["server", "uptime-ms"], help: "Time since the start.",
            unit: 1000),
        Metric(
            name: "state_seconds", kind: .gauge, path: ["log", "since-ms"], help: "Time since the state began.",
            unit: 1000),
        Metric(
            name: "epoch", kind: .gauge, path: ["log", "epoch"],
            help: "Epoch of the tag table; the caches of all workers (L1) are cold when it rises."),
        Metric(
            name: "applied_position", kind: .gauge, path: ["log", "applied"],
            help: "Log position up to which everything is applied."),
        Metric(
            name: "first_known_position", kind: .gauge, path: ["log", "first-known"],
            help: "First known position: the greatest one that this syncd did not apply itself."),
        Metric(
            name: "pending_invalidations", kind: .gauge, path: ["log", "pending"],
            help: "Invalidations that are not in the log yet."),
        Metric(
            name: "redis_connections", kind: .gauge, path: ["redis", "connections"],
            help: "Connections to Redis that are ready, of 2."),
        Metric(
            name: "redis_reconnects_total", kind: .counter, path: ["redis", "reconnects"],
            help: "Connections to Redis that were made again."),
        Metric(
            name: "cache_hits_total", kind: .counter, path: ["cache", "hits"],
            help: "Requests to syncd that were answered from cache."),
        Metric(
            name: "cache_misses_total", kind: .counter, path: ["cache", "misses"],
            help: "Requests to syncd that were not answered from cache."),
        Metric(
            name: "cache_fills_total", kind: .counter, path: ["cache", "fills"],
            help: "Values that were stored in the cache."),
        Metric(
            name: "cache_stale_fills_refused_total", kind: .counter, path: ["cache", "stale-fills-refused"],
            help: "Values that were invalidated while they were read."),
        Metric(
            name: "cache_coalesced_total", kind: .counter, path: ["cache", "coalesced"],
            help: "Requests that waited for another's load."),
        Metric(
            name: "cache_evictions_total", kind: .counter, path: ["cache", "evictions"],
            help: "Values in shared memory that had to make room."),
        Metric(
            name: "cache_entries", kind: .gauge, path: ["cache", "entries"], help: "Values in shared memory."),
        Metric(name: "cache_bytes", kind: .gauge, path: ["cache", "bytes"], help: "Bytes of these values."),
        Metric(
            name: "cache_capacity_bytes", kind: .gauge, path: ["cache", "capacity"],
            help: "Bytes for values in shared memory."),
        Metric(name: "leases", kind: .gauge, path: ["cache", "leases"], help: "Loads under way."),
        Metric(name: "waiters", kind: .gauge, path: ["cache", "waiters"], help: "Requests that wait for a load."),
        Metric(
            name: "invalidations_in_total", kind: .counter, path: ["fanout", "invalidations-in"],
            help: "Invalidations that this host's workers asked for."),
        Metric(
            name: "invalidations_out_total", kind: .counter, path: ["fanout", "invalidations-out"],
            help: "Log entries that were applied."),
        Metric(
            name: "invalidations_deferred_total", kind: .counter, path: ["fanout", "deferred"],
            help: "Invalidations that were pending because Redis did not accept them."),
        Metric(
            name: "invalidations_bridged_total", kind: .counter, path: ["fanout", "bridged"],
            help: "Events of other programs."),
    ]

    static func render(_ sections: [StatusField]) -> String {
        var text = PrometheusText(prefix: "syncd_")
        let info = [
            ("version", sections.value("server", "version").plain), ("mode", sections.value("log", "mode").plain),
        ]
        text.add("info", .gauge, help: "Version, and whether the log is shared through Redis.", [(info, 1)])
        let state = ShownState(of: sections)
        let isUsable = state?.areCachesUsable == true
        text.add("attached", .gauge, help: "1 while caches can be used, 0 while isolated.", isUsable ? 1 : 0)
        text.add(
            "idle", .gauge, help: "1 while nobody reads, so that Redis is asked seldom.", state == .idle ? 1 : 0)
        for metric in metrics {
            guard let value = number(sections.value(at: metric.path)) else { continue }
            text.add(metric.name, metric.kind, help: metric.help, value / metric.unit)
        }
        text.add(
            "invalidation_latency_seconds", help: "From append to table.",
            histogram(fields(sections, ["fanout", "latency-histogram-us"])))
        text.add(
            "redis_round_trip_seconds", help: "From the probe to its answer.",
            histogram(fields(sections, ["redis", "round-trip-histogram-us"])))
        if case .list(let warnings) = sections.value("redis", "warnings") {
            text.add(
                "redis_warnings", .gauge,
                help: "Settings and permissions of Redis that endanger something, and lookups of its name that hang.",
                Double(warnings.count))
        }
        addFeeds(sections, to: &text)
        addClients(sections, to: &text)
        let limits = fields(sections, ["limits"]).map { ([("limit", $0.name)], number($0.value) ?? 0) }
        text.add("limit", .gauge, help: "The limits in force.", limits)
        return text.text
    }

    private static func addFeeds(_ sections: [StatusField], to text: inout PrometheusText) {
        let feeds = FeedFigures.all(sections)
        func sum(_ name: String) -> Double { feeds.reduce(0) { $0 + (number($1.fields.value(name)) ?? 0) } }
        text.add(
            "feed_changes_total", .counter, help: "Changes of the database that readers on this host have reported.",
            sum("changes"))
        let uncovered = feeds.flatMap { feed in
            feed.uncovered.map { ([("feed", feed.name), ("collection", $0.name)], number($0.value) ?? 0) }
        }
        // Without labels, so that it is there from the start: an alert on a series that begins with 1 sees no increase.
        text.add(
            "feed_uncovered_writes_total", .counter,
            help: "Writes of programs that did not invalidate, as readers on this host have found them.",
            sum("uncovered"))
        text.add(
            "feed_uncovered_writes_by_collection_total", .counter,
            help: "The same, by feed and collection, from the first one on.", uncovered)
        text.add(
            "feed_resets_total", .counter, help: "Times at which the changes of the database were unknown.",
            sum("resets"))
        text.add(
            "feed_readers", .gauge, help: "Change feeds that a client of this host reads.",
            Double(feeds.count { $0.fields.value("reader") != .null }))
        let lags = feeds.compactMap { number($0.fields.value("lag-ms")) }
        text.add(
            "feed_lag_seconds", .gauge,
            help: "Time since which changes of the database may be unknown; 0 where another host reads them.",
            (lags.max() ?? 0) / 1000)
    }

    private static func addClients(_ sections: [StatusField], to text: inout PrometheusText) {
        guard case .list(let items) = sections.first(where: { $0.name == "clients" })?.value else { return }
        let clients = items.map { item in if case .fields(let fields) = item { fields } else { [StatusField]() } }
        func sum(_ path: String...) -> Double { clients.reduce(0) { $0 + (number($1.value(at: path)) ?? 0) } }
        // A client may report any text.
        func reported(_ name: String) -> Double {
            clients.reduce(0) { $0 + Double(UInt64($1.value("reported", name).plain) ?? 0) }
        }
        // Workers with a tag table report its use, and ask for invalidations only while somebody listens to them.
        let trackers = clients.count { client in
            let isTracking = client.value("tracking") == .flag(true) || client.value("tracking") == .number(1)
            return isTracking || client.value("reported", "l1-entries").plain != "-"
        }
        let values: [(String, String, Double)] = [
            ("clients", "Connected clients.", Double(clients.count)),
            ("clients_tracking", "Clients that keep a cache of their own.", Double(trackers)),
            ("clients_requests_in_flight", "Requests of all clients that are not answered.", sum("in-flight")),
            ("clients_output_bytes", "Output that clients have not read.", sum("output-bytes")),
            (
                "workers_requests_per_second", "HTTP requests of all workers, as they report them.",
                reported("http-requests-per-s")
            ),
            ("workers_l1_bytes", "Bytes in the workers' own caches.", reported("l1-bytes")),
            ("workers_l1_entries", "Values in the workers' own caches.", reported("l1-entries")),
            (
                "workers_journal_unusable", "Workers that cannot write into the journal.",
                Double(WorkerJournals(sections).unusable)
            ),
            (
                "workers_shared_hits", "Reads that the workers answered from shared memory, without syncd.",
                reported("shared-hits")
            ),
            (
                "workers_audit_sampled", "Hits that the workers compared with the database.",
                reported("audit-sampled")
            ),
            (
                "workers_audit_stale", "Of these, values that differed and nothing superseded them.",
                reported("audit-stale")
            ),
            (
                "workers_audit_superseded", "Of these, values that differed and were invalidated in time.",
                reported("audit-superseded")
            ),
        ]
        for (name, help, value) in values { text.add(name, .gauge, help: help, value) }
    }

    /// A histogram of STATUS: bounds in µs with the number of values up to each, `count` and `sum`.
    private static func histogram(_ fields: [StatusField]) -> [PrometheusText.Histogram] {
        guard !fields.isEmpty else { return [] }
        let buckets = fields.compactMap { field -> (Double, Double)? in
            guard let bound = Double(field.name), let count = number(field.value) else { return nil }
            return (bound / 1_000_000, count)
        }
        return [
            PrometheusText.Histogram(
                buckets: buckets, count: number(fields.value("count")) ?? 0,
                sum: (number(fields.value("sum")) ?? 0) / 1_000_000)
        ]
    }

    private static func fields(_ sections: [StatusField], _ path: [String]) -> [StatusField] {
        if case .fields(let fields) = sections.value(at: path) { fields } else { [] }
    }

    private static func number(_ value: StatusValue) -> Double? {
        if case .number(let number) = value { Double(number) } else { Double(value.plain) }
    }
}
