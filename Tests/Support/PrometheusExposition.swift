/// A strict reader of Prometheus' text format: features that no program of ours uses are refused, too.
package struct PrometheusExposition: Sendable {
    package struct Sample: Sendable {
        package var name: String
        package var labels: [String: String]
        package var value: Double
    }

    package struct Metric: Sendable {
        package var name: String
        package var type: String
        package var help: String
        package var samples: [Sample] = []
    }

    /// The metrics in the order of the text.
    package private(set) var metrics: [Metric] = []

    /// - Throws: the fault, with the line.
    package init(_ text: String) throws {
        guard text.isEmpty || text.hasSuffix("\n") else { throw TestFailure("the last line has no end") }
        // Split by scalars: a line feed is a part of the character CR LF.
        for line in text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
            do {
                try read(String(line))
            } catch {
                throw TestFailure("\(error): \(line)")
            }
        }
        for metric in metrics { try Self.check(metric) }
        guard Set(metrics.map(\.name)).count == metrics.count else { throw TestFailure("a metric comes twice") }
    }

    package subscript(_ name: String) -> Metric? { metrics.first { $0.name == name } }

    /// The value of a sample by its name and exactly these labels.
    package func value(_ name: String, _ labels: [String: String] = [:]) -> Double? {
        metrics.lazy.flatMap(\.samples).first { $0.name == name && $0.labels == labels }?.value
    }

    // MARK: Lines

    private mutating func read(_ line: String) throws {
        if line.hasPrefix("# HELP ") {
            let parts = line.dropFirst(7).split(separator: " ", maxSplits: 1)
            guard parts.count == 2, Self.isName(parts[0]) else { throw TestFailure("no help") }
            metrics.append(Metric(name: String(parts[0]), type: "", help: try Self.unescaped(parts[1], quotes: false)))
        } else if line.hasPrefix("# TYPE ") {
            let parts = line.dropFirst(7).split(separator: " ", omittingEmptySubsequences: false)
            guard parts.count == 2, ["counter", "gauge", "histogram"].contains(parts[1]) else {
                throw TestFailure("no type")
            }
            guard let last = metrics.last, last.name == parts[0], last.type.isEmpty else {
                throw TestFailure("not directly after its help")
            }
            metrics[metrics.count - 1].type = String(parts[1])
        } else {
            let sample = try Self.sample(line)
            guard let last = metrics.last, !last.type.isEmpty else { throw TestFailure("a sample before its type") }
            let names = last.type == "histogram" ? ["_bucket", "_sum", "_count"].map { last.name + $0 } : [last.name]
            guard names.contains(sample.name) else { throw TestFailure("a sample of another metric") }
            metrics[metrics.count - 1].samples.append(sample)
        }
    }

    private static func sample(_ line: String) throws -> Sample {
        let name = line.prefix { $0 != "{" && $0 != " " }
        guard isName(name) else { throw TestFailure("no name") }
        var rest = line.dropFirst(name.count)
        var labels: [String: String] = [:]
        if rest.first == "{" {
            repeat {
                rest = rest.dropFirst()
                guard let equals = rest.firstIndex(of: "="), rest[equals...].hasPrefix("=\"") else {
                    throw TestFailure("no label")
                }
                let label = rest[..<equals]
                guard isName(label), !label.contains(":"), labels[String(label)] == nil else {
                    throw TestFailure("no name of a label, or twice")
                }
                rest = rest[equals...].dropFirst(2)
                guard let end = endOfQuoted(rest) else { throw TestFailure("no end of a label") }
                labels[String(label)] = try unescaped(rest[..<end], quotes: true)
                rest = rest[end...].dropFirst()
            } while rest.first == ","
            guard rest.first == "}" else { throw TestFailure("no end of the labels") }
            rest = rest.dropFirst()
        }
        guard rest.first == " ", let value = number(rest.dropFirst()) else { throw TestFailure("no value") }
        return Sample(name: String(name), labels: labels, value: value)
    }

    private static func endOfQuoted(_ text: Substring) -> Substring.Index? {
        var index = text.startIndex
        while index < text.endIndex {
            if text[index] == "\"" { return index }
            if text[index] == "\\" { text.formIndex(after: &index) }
            guard index < text.endIndex else { return nil }
            text.formIndex(after: &index)
        }
        return nil
    }

    private static func unescaped(_ text: Substring, quotes: Bool) throws -> String {
        var result = ""
        var scalars = text.unicodeScalars.makeIterator()
        while let scalar = scalars.next() {
            guard scalar == "\\" else {
                result.unicodeScalars.append(scalar)
                continue
            }
            switch scalars.next() {
            case "\\": result += "\\"
            case "n": result += "\n"
            case "\"" where quotes: result += "\""
            default: throw TestFailure("no escape")
            }
        }
        return result
    }

    private static func isName(_ text: Substring) -> Bool {
        guard let first = text.utf8.first, !(0x30...0x39).contains(first) else { return false }
        return text.utf8.allSatisfy {
            (0x61...0x7a).contains($0) || (0x41...0x5a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x5f
        }
    }

    private static func number(_ text: Substring) -> Double? {
        switch text {
        case "+Inf": return .infinity
        case "-Inf": return -.infinity
        case "NaN": return .nan
        default:
            // Further forms that Swift accepts: hexadecimal, "inf", signs.
            let isPlain = text.utf8.allSatisfy { "0123456789.e-+".utf8.contains($0) } && text.first != "+"
            return isPlain ? Double(text) : nil
        }
    }

    // MARK: Metrics

    private static func check(_ metric: Metric) throws {
        guard !metric.type.isEmpty, !metric.samples.isEmpty else { throw TestFailure("\(metric.name) is empty") }
        guard
            Set(metric.samples.map { [$0.name] + $0.labels.sorted { $0.key < $1.key }.flatMap { [$0.key, $0.value] } })
                .count == metric.samples.count
        else { throw TestFailure("\(metric.name) has a sample twice") }
        switch metric.type {
        case "counter":
            guard metric.name.hasSuffix("_total"), metric.samples.allSatisfy({ $0.value >= 0 }) else {
                throw TestFailure("\(metric.name) is no counter")
            }
        case "histogram": try checkHistogram(metric)
        default:
            guard !metric.name.hasSuffix("_total") else { throw TestFailure("\(metric.name) is called a counter") }
        }
    }

    private static func checkHistogram(_ metric: Metric) throws {
        let groups = Dictionary(grouping: metric.samples) { $0.labels.filter { $0.key != "le" } }
        for (labels, samples) in groups {
            let buckets = samples.filter { $0.name.hasSuffix("_bucket") }
            let bounds = buckets.map { number(Substring($0.labels["le"] ?? "")) ?? .nan }
            let counts = buckets.map(\.value)
            guard bounds.last == .infinity, bounds == bounds.sorted(), Set(bounds).count == bounds.count else {
                throw TestFailure("\(metric.name) \(labels): bounds \(bounds)")
            }
            guard counts == counts.sorted(),
                counts.last == samples.first(where: { $0.name.hasSuffix("_count") })?.value,
                samples.contains(where: { $0.name.hasSuffix("_sum") && $0.labels["le"] == nil })
            else { throw TestFailure("\(metric.name) \(labels): counts \(counts)") }
        }
    }
}
