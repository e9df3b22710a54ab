import IPC

/// The text format of Prometheus, version 0.0.4
/// (https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format).
struct PrometheusText {
    let prefix: String
    private(set) var text = ""

    init(prefix: String) { self.prefix = prefix }

    /// Adds a metric with its samples; none at all without a sample.
    mutating func add(
        _ name: String, type: String, help: String, _ samples: [(labels: [(String, String)], value: Double)]
    ) {
        guard !samples.isEmpty else { return }
        header(name, type: type, help: help)
        for sample in samples { line(name, sample.labels, sample.value) }
    }

    /// Adds a histogram of STATUS: bounds in µs with the number of values up to each, `count` and `sum`.
    mutating func add(histogram name: String, help: String, _ fields: [StatusField]) {
        guard !fields.isEmpty else { return }
        header(name, type: "histogram", help: help)
        let count = Double(fields.value("count").plain) ?? 0
        for field in fields {
            guard let bound = Double(field.name), let value = Double(field.value.plain) else { continue }
            line(name + "_bucket", [("le", Self.number(bound / 1_000_000))], value)
        }
        line(name + "_bucket", [("le", "+Inf")], count)
        line(name + "_sum", [], (Double(fields.value("sum").plain) ?? 0) / 1_000_000)
        line(name + "_count", [], count)
    }

    private mutating func header(_ name: String, type: String, help: String) {
        text += "# HELP \(prefix)\(name) \(help)\n# TYPE \(prefix)\(name) \(type)\n"
    }

    private mutating func line(_ name: String, _ labels: [(String, String)], _ value: Double) {
        let pairs = labels.map { "\($0.0)=\"\(Self.escaped($0.1))\"" }
        text += prefix + name + (pairs.isEmpty ? "" : "{\(pairs.joined(separator: ","))}") + " \(Self.number(value))\n"
    }

    /// Whole numbers without a fraction, also large ones.
    private static func number(_ value: Double) -> String {
        if let whole = Int64(exactly: value) { return String(whole) }
        return String(value)
    }

    private static func escaped(_ text: String) -> String {
        text.reduce(into: "") { result, character in
            switch character {
            case "\\": result += "\\\\"
            case "\"": result += "\\\""
            case "\n": result += "\\n"
            default: result.append(character)
            }
        }
    }
}
