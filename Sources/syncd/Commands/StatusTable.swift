import Glibc
import IPC

/// STATUS for people: a summary, then one line per client.
enum StatusTable {
    /// - Parameter time: seconds since 1970, from which "since when" is counted.
    static func render(_ sections: [StatusField], time: Int) -> String {
        func plain(_ path: String...) -> String { sections.value(at: path).plain }
        let isUsable = ShownState(of: sections)?.areCachesUsable == true
        let since = sections.value("log", "since-ms")
        var rows = [
            (
                "syncd",
                "\(plain("server", "version"))  pid \(plain("server", "pid"))  up \(duration(sections.value("server", "uptime-ms")))  \(plain("server", "socket"))"
            ),
            ("health", isUsable ? "ok" : "DEGRADED: nothing is answered from cache, workers read the database"),
            ("state", "\(plain("log", "state")) for \(duration(since)), since \(clockTime(time, since))"),
        ]
        let unsafe = WorkerJournals(sections).unusable
        if unsafe > 0 {
            rows.append(
                ("", "\(unsafe) workers cannot write into the journal (df, owner and mode of the runtime directory)"))
        }
        if sections.value("log", "why") != .null { rows.append(("why", plain("log", "why"))) }
        rows.append(
            (
                "log",
                "\(plain("log", "mode"))  applied \(plain("log", "applied"))  epoch \(plain("log", "epoch")) (\(plain("log", "epoch-reason")))  pending \(plain("log", "pending"))"
            ))
        if sections.contains(where: { $0.name == "redis" }) {
            let (endpoint, primary) = (plain("redis", "endpoint"), plain("redis", "primary"))
            // redis+sentinel, redis+cluster: the servers of the URL name it.
            let isFound = endpoint.prefix { $0 != ":" }.contains("+") && !["-", ""].contains(primary)
            let server = isFound ? "  primary \(primary)" : ""
            rows.append(
                (
                    "redis",
                    "\(endpoint)\(server)  \(plain("redis", "server-version"))  round trip p50 \(plain("redis", "round-trip-p50-us")) µs, p99 \(plain("redis", "round-trip-p99-us")) µs  reconnects \(plain("redis", "reconnects"))"
                ))
            if sections.value("redis", "last-error") != .null {
                rows.append(("", "last error: \(plain("redis", "last-error"))"))
            }
        }
        let hits = sections.value("cache", "hits")
        rows.append(
            (
                "cache",
                "hit rate \(rate(hits, sections.value("cache", "misses")))  hits \(hits.plain)  misses \(plain("cache", "misses"))  entries \(plain("cache", "entries"))  leases \(plain("cache", "leases"))  waiters \(plain("cache", "waiters"))  stale fills refused \(plain("cache", "stale-fills-refused"))"
            ))
        rows.append(
            (
                "fanout",
                "append to table p50 \(plain("fanout", "latency-p50-us")) µs, p99 \(plain("fanout", "latency-p99-us")) µs, max \(plain("fanout", "latency-max-us")) µs  in \(plain("fanout", "invalidations-in"))  out \(plain("fanout", "invalidations-out"))  deferred \(plain("fanout", "deferred"))"
            ))
        for feed in FeedFigures.all(sections) { rows.append(("feed", feed.text)) }
        if let audit = AuditFigures(sections) { rows.append(("audit", audit.text)) }
        let head = rows.map { name, text in name + String(repeating: " ", count: 9 - name.count) + text + "\n" }
        return head.joined() + "\n" + clients(sections)
    }

    private static func clients(_ sections: [StatusField]) -> String {
        guard case .list(let clients) = sections.first(where: { $0.name == "clients" })?.value else { return "" }
        var rows = [
            ["NAME", "PID", "CORE", "UP", "REQUESTS/S", "L1 HIT RATE", "IN FLIGHT", "BACKLOG", "SYNCD REQUESTS"]
        ]
        for case .fields(let client) in clients {
            let reported: (String) -> StatusValue = { client.value("reported", $0) }
            rows.append([
                client.value("name").plain, client.value("pid").plain, reported("core").plain,
                duration(client.value("since-ms")), reported("http-requests-per-s").plain,
                rate(reported("l1-hits"), reported("l1-misses")), client.value("in-flight").plain,
                bytes(client.value("output-bytes")), client.value("requests").plain,
            ])
        }
        return columns(rows)
    }

    /// Rows of as many cells each, one below the other.
    static func columns(_ rows: [[String]]) -> String {
        let widths = (rows.first ?? []).indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        return rows.map { row in
            let cells = zip(row, widths).map { cell, width in
                cell + String(repeating: " ", count: width - cell.count)
            }
            let line = cells.joined(separator: "  ")
            return String(line.reversed().drop { $0 == " " }.reversed()) + "\n"
        }.joined()
    }

    static func rate(_ hits: StatusValue, _ misses: StatusValue) -> String {
        guard let hits = UInt64(hits.plain).map(Double.init), let misses = UInt64(misses.plain).map(Double.init),
            hits + misses > 0
        else { return "-" }
        let permille = Int((hits / (hits + misses) * 1000).rounded())
        return "\(permille / 10).\(permille % 10) %"
    }

    /// Bytes as `0 B`, `12 KiB`, `3 MiB`.
    static func bytes(_ value: StatusValue) -> String {
        guard let bytes = UInt64(value.plain) else { return "-" }
        return switch bytes {
        case 0..<10_240: "\(bytes) B"
        case 10_240..<10_485_760: "\(bytes >> 10) KiB"
        default: "\(bytes >> 20) MiB"
        }
    }

    /// Milliseconds as `12 s`, `3 min`, `2 h`, `5 d`.
    static func duration(_ value: StatusValue) -> String {
        guard let milliseconds = UInt64(value.plain) else { return "-" }
        let seconds = milliseconds / 1000
        return switch seconds {
        case 0..<120: "\(seconds) s"
        case 120..<7200: "\(seconds / 60) min"
        case 7200..<172_800: "\(seconds / 3600) h"
        default: "\(seconds / 86_400) d"
        }
    }

    /// The local time `age` milliseconds before `time`.
    static func clockTime(_ time: Int, _ age: StatusValue) -> String {
        guard let milliseconds = Int(age.plain) else { return "-" }
        var (seconds, parts) = (time_t(time - milliseconds / 1000), tm())
        localtime_r(&seconds, &parts)
        var text = [CChar](repeating: 0, count: 32)
        let count = strftime(&text, text.count, "%Y-%m-%d %H:%M:%S", &parts)
        return String(decoding: text[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
