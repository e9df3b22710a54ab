import IPC

/// STATUS as a table for people.
enum StatusTable {
    static func render(_ sections: [StatusField]) -> String {
        var text = "syncd \(plain(sections, "server", "version"))  pid \(plain(sections, "server", "pid"))  "
        text += "up \(duration(sections.value("server", "uptime-ms")))  \(plain(sections, "server", "socket"))\n"
        text += "state    \(plain(sections, "log", "state")) for \(duration(sections.value("log", "since-ms")))"
        let why = plain(sections, "log", "why")
        text += why == "-" ? "\n" : " (\(why))\n"
        text += "log      \(plain(sections, "log", "mode"))  applied \(plain(sections, "log", "applied"))  "
        text += "epoch \(plain(sections, "log", "epoch")) (\(plain(sections, "log", "epoch-reason")))  "
        text += "owed \(plain(sections, "log", "owed"))\n"
        if sections.contains(where: { $0.name == "redis" }) {
            text += "redis    \(plain(sections, "redis", "endpoint"))  \(plain(sections, "redis", "server-version"))  "
            text += "round trip p50 \(plain(sections, "redis", "round-trip-p50-us")) µs "
            text += "p99 \(plain(sections, "redis", "round-trip-p99-us")) µs  "
            text += "reconnects \(plain(sections, "redis", "reconnects"))\n"
        }
        text += "cache    hits \(plain(sections, "cache", "hits"))  misses \(plain(sections, "cache", "misses"))  "
        text += "hit rate \(plain(sections, "cache", "hit-rate"))  "
        text += "stale fills refused \(plain(sections, "cache", "stale-fills-refused"))  "
        text += "leases \(plain(sections, "cache", "leases"))  entries \(plain(sections, "cache", "entries"))\n"
        text += "fanout   in \(plain(sections, "fanout", "invalidations-in"))  "
        text += "out \(plain(sections, "fanout", "invalidations-out"))  "
        text += "append to table p50 \(plain(sections, "fanout", "latency-p50-us")) µs "
        text += "p99 \(plain(sections, "fanout", "latency-p99-us")) µs\n\n"
        return text + clients(sections)
    }

    private static func clients(_ sections: [StatusField]) -> String {
        guard case .list(let clients) = sections.first(where: { $0.name == "clients" })?.value else { return "" }
        var rows = [
            ["ID", "NAME", "PID", "SINCE", "REQUESTS", "IN FLIGHT", "OUTPUT", "L1 HITS", "L1 MISSES", "L1 HIT RATE"]
        ]
        for case .fields(let client) in clients {
            let reported: (String) -> StatusValue = { client.value("reported", $0) }
            rows.append([
                client.value("id").plain, client.value("name").plain, client.value("pid").plain,
                duration(client.value("since-ms")), client.value("requests").plain, client.value("in-flight").plain,
                client.value("output-bytes").plain, reported("l1-hits").plain, reported("l1-misses").plain,
                rate(reported("l1-hits"), reported("l1-misses")),
            ])
        }
        let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        return rows.map { row in
            let cells = zip(row, widths).map { cell, width in
                cell + String(repeating: " ", count: width - cell.count)
            }
            let line = cells.joined(separator: "  ")
            return String(line.reversed().drop { $0 == " " }.reversed()) + "\n"
        }.joined()
    }

    private static func plain(_ sections: [StatusField], _ section: String, _ name: String) -> String {
        sections.value(section, name).plain
    }

    private static func rate(_ hits: StatusValue, _ misses: StatusValue) -> String {
        guard let hits = Double(hits.plain), let misses = Double(misses.plain), hits + misses > 0 else { return "-" }
        let permille = Int((hits / (hits + misses) * 1000).rounded())
        return "\(permille / 10).\(permille % 10) %"
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
}

/// STATUS as JSON: the same names, sections as objects, clients as an array.
enum StatusJSON {
    static func render(_ sections: [StatusField]) -> String { object(sections, indent: 0) + "\n" }

    private static func object(_ fields: [StatusField], indent: Int) -> String {
        guard !fields.isEmpty else { return "{}" }
        let inner = String(repeating: "  ", count: indent + 1)
        let lines = fields.map { "\(inner)\(string($0.name)): \(value($0.value, indent: indent + 1))" }
        return "{\n\(lines.joined(separator: ",\n"))\n\(String(repeating: "  ", count: indent))}"
    }

    private static func value(_ value: StatusValue, indent: Int) -> String {
        switch value {
        case .text(let text): string(text)
        case .bytes(let bytes): string(bytes.escaped)
        case .number(let number): String(number)
        case .flag(let flag): flag ? "true" : "false"
        case .null: "null"
        case .fields(let fields): object(fields, indent: indent)
        case .list(let items): "[\(items.map { self.value($0, indent: indent) }.joined(separator: ", "))]"
        }
    }

    static func string(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case _ where scalar.value < 0x20:
                let hex = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
