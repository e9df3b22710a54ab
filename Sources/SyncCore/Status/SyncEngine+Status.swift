import IPCWire
import NIOCore

/// Properties of a client that only its connection knows.
package struct Transport: Sendable, Hashable {
    /// Number of requests since the connection was made, refused ones included.
    package var requests: UInt64
    package var requestsInFlight: Int
    package var unsentBytes: Int
    /// Memory of a request that is not complete, in bytes.
    package var unreadRequestBytes = 0
    /// CLOCK_BOOTTIME in ns of the last request; 0: there was none.
    package var lastRequestAt: BootTime = 0

    package init(requests: UInt64, requestsInFlight: Int, unsentBytes: Int) {
        self.requests = requests
        self.requestsInFlight = requestsInFlight
        self.unsentBytes = unsentBytes
    }
}

extension SyncEngine {
    /// The names of the sections of STATUS that the engine provides (docs/protocol.md, "STATUS").
    package static let statusSections = ["log", "cache", "fanout", "feeds", "clients", "limits"]

    /// One section of STATUS. `transport` returns the properties of a client's connection.
    package func statusSection(
        _ name: String, now: BootTime, transport: (ClientID) -> Transport?
    ) -> StatusValue {
        switch name {
        case "log": .fields(logSection(now))
        case "cache": .fields(cacheSection())
        case "fanout": .fields(fanoutSection())
        case "feeds": .list(feedsSection(now))
        case "clients": .list(clientsSection(now, transport))
        case "limits": .fields(limitsSection())
        case Self.reportSection: .fields(reportFields(now))
        default: .null
        }
    }

    private func logSection(_ now: BootTime) -> [StatusField] {
        let shown = shownState(now: now)
        let isSilent = shown.state == .isolated && log.state == .attached
        let idleSince = log.isIdle ? min(now, log.lastUse + limits.idleNanoseconds) : 0
        let since = isSilent ? lastHeartbeat : max(log.attachment.since, idleSince, log.inUseSince)
        return [
            StatusField("mode", .text(configuration.mode.rawValue)),
            StatusField("state", .text(shown.state.rawValue)),
            StatusField("since-ms", .number((now &- since) / 1_000_000)),
            StatusField("why", shown.reason.map { .text($0) } ?? .null),
            StatusField("incarnation", .text(log.incarnation.description)),
            StatusField("epoch", .number(log.epoch.number)),
            StatusField("epoch-reason", .text(log.attachment.epochReason.rawValue)),
            StatusField("applied", .number(log.applied.number)),
            StatusField("first-known", .number(log.firstKnownPosition.number)),
            StatusField("pending", .number(UInt64(journal.pending))),
            StatusField("journal", journal.problem.map { .text($0) } ?? .null),
            StatusField("undeletable", .number(UInt64(undeletableFiles))),
        ]
    }

    private func cacheSection() -> [StatusField] {
        let asked = figures.hits + figures.misses
        let rate = asked == 0 ? 0 : Double(figures.hits) / Double(asked)
        let percent = Int((rate * 1000).rounded())
        return [
            StatusField("hits", .number(figures.hits)),
            StatusField("misses", .number(figures.misses)),
            StatusField("hit-rate", .text("\(percent / 1000).\(String(percent % 1000 + 1000).dropFirst())")),
            StatusField("fills", .number(figures.fills)),
            StatusField("stale-fills-refused", .number(figures.staleFills)),
            StatusField("leases", .number(UInt64(loads.leaseCount))),
            StatusField("waiters", .number(UInt64(loads.waiterCount))),
            StatusField("coalesced", .number(figures.coalesced)),
            StatusField("entries", .number(UInt64(arena?.count ?? 0))),
            StatusField("bytes", .number(UInt64(arena?.byteCount ?? 0))),
            StatusField("capacity", .number(UInt64(arena?.arena.shape.ringBytes ?? 0))),
            StatusField("evictions", .number(arena?.evictions ?? 0)),
        ]
    }

    private func fanoutSection() -> [StatusField] {
        let latency = log.latency.microseconds([0.5, 0.99, 1])
        return [
            StatusField("invalidations-in", .number(figures.invalidationsIn)),
            StatusField("invalidations-out", .number(figures.invalidationsOut)),
            StatusField("deferred", .number(figures.deferred)),
            StatusField("bridged", .number(figures.bridged)),
            StatusField("latency-p50-us", .number(latency[0])),
            StatusField("latency-p99-us", .number(latency[1])),
            StatusField("latency-max-us", .number(latency[2])),
            StatusField("latency-histogram-us", .fields(log.latency.histogram.statusFields)),
        ]
    }

    private func feedsSection(_ now: BootTime) -> [StatusValue] {
        log.watchedFeeds.compactMap { name in
            guard let feed = feeds[name] else { return nil }
            let byCollection = feed.uncovered.sorted {
                $0.key.readableBytesView.lexicographicallyPrecedes($1.key.readableBytesView)
            }
            return .fields([
                StatusField("name", .bytes(name)),
                StatusField("reader", feed.reader.map { .number($0.client.number) } ?? .null),
                StatusField("elsewhere", .flag(feed.isReadElsewhere(now))),
                StatusField("lag-ms", feed.lagMilliseconds(now).map { .number($0) } ?? .null),
                StatusField("changes", .number(feed.changes)),
                StatusField("covered", .number(feed.covered)),
                StatusField("late", .number(feed.late)),
                StatusField("uncovered", .number(feed.uncovered.values.reduce(0, +))),
                StatusField(
                    "uncovered-by-collection",
                    .fields(byCollection.map { StatusField($0.key.escaped, .number($0.value)) })),
                StatusField("resets", .number(feed.resets)),
            ])
        }
    }

    private func clientsSection(_ now: BootTime, _ transport: (ClientID) -> Transport?) -> [StatusValue] {
        clients.keys.sorted().compactMap { id in
            guard let client = clients[id] else { return nil }
            let connection = transport(id)
            return .fields([
                StatusField("id", .number(id.number)),
                StatusField("name", client.name.map { .bytes($0) } ?? .text("")),
                StatusField("pid", .number(UInt64(max(0, client.peer.pid)))),
                StatusField("uid", .number(UInt64(client.peer.uid))),
                StatusField("since-ms", .number((now &- client.connectedAt) / 1_000_000)),
                StatusField("requests", .number(connection?.requests ?? 0)),
                StatusField("in-flight", .number(UInt64(connection?.requestsInFlight ?? 0))),
                StatusField("output-bytes", .number(UInt64(connection?.unsentBytes ?? 0))),
                StatusField("tracking", .flag(client.isTracking)),
                StatusField("subscriptions", .number(UInt64(subscriptions.count(of: id)))),
                StatusField(
                    "reported", .fields(client.reported.map { StatusField($0.name.escaped, .bytes($0.value)) })),
            ])
        }
    }

    private func limitsSection() -> [StatusField] {
        Limits.adjustable.map { StatusField($0.name, .number(UInt64(limits[keyPath: $0.path]))) }
            + [
                StatusField("nesting-depth", .number(UInt64(limits.wire.nestingDepth))),
                StatusField("lease-ms", .number(limits.leaseNanoseconds / 1_000_000)),
                StatusField("table-slots", .number(UInt64(table.slotCount))),
            ]
    }

    /// The reply to CLIENT INFO or CLIENT LIST, a line for each of `ids`. `transport` returns the properties of a
    /// client's connection.
    package func clientLines(
        _ ids: [ClientID], now: BootTime, transport: (ClientID) -> Transport?
    ) -> String {
        ids.map { clientLine($0, now: now, transport($0)) }.joined()
    }

    private func clientLine(_ id: ClientID, now: BootTime, _ transport: Transport?) -> String {
        guard let client = clients[id] else { return "" }
        // Clients split the line at spaces and equal signs, so the name must be one word.
        let name = client.name?.escaped(besides: " =") ?? ""
        let age = (now &- client.connectedAt) / 1_000_000_000
        let lastRequest = max(transport?.lastRequestAt ?? 0, client.connectedAt)
        let idle = now > lastRequest ? (now - lastRequest) / 1_000_000_000 : 0
        let (input, output) = (transport?.unreadRequestBytes ?? 0, transport?.unsentBytes ?? 0)
        let channels = subscriptions.count(of: id, .channel)
        let patterns = subscriptions.count(of: id, .pattern)
        // redis-py 5 requires these fields, which mean nothing here.
        return "id=\(id) addr=unix:\(client.peer.pid) name=\(name) age=\(age) idle=\(idle) uid=\(client.peer.uid) "
            + "flags=\(channels + patterns > 0 ? "P" : "N") db=0 sub=\(channels) psub=\(patterns) multi=-1 "
            + "qbuf=\(input) qbuf-free=0 argv-mem=0 obl=0 oll=0 omem=\(output) tot-mem=\(input + output) "
            + "resp=\(client.version.rawValue) tot-cmds=\(transport?.requests ?? 0)\n"
    }
}
