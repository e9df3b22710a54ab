import NIOCore
import ProcessSupport

/// Metrics that a program reports, merged with those of a worker. A reader of its own shows that nobody can be harmed.
enum MetricsTarget {
    private static let honest = """
        # HELP apiworker_a_total Counted.
        # TYPE apiworker_a_total counter
        apiworker_a_total{x="1"} 5
        # HELP apiworker_b_seconds Took long.
        # TYPE apiworker_b_seconds histogram
        apiworker_b_seconds_bucket{le="0.5"} 1
        apiworker_b_seconds_bucket{le="+Inf"} 2
        apiworker_b_seconds_sum 2.5
        apiworker_b_seconds_count 2

        """

    static func check(_ input: inout FuzzInput) throws {
        let report = input.buffer()
        let honest = ("0", ByteBuffer(string: Self.honest))
        let alone = try lines(merged([honest]), of: "0")
        let text = merged([honest, ("9", report)])
        try require(try lines(text, of: "0") == alone, "the worker's series are changed: \(text)")
        // A metric of another type that comes first keeps the worker's out, but changes none.
        let second = merged([("9", report), honest])
        try require(Set(try lines(second, of: "0")).isSubset(of: alone), "the worker's series are changed: \(second)")
    }

    private static func merged(_ reports: [(worker: String, text: ByteBuffer)]) -> ByteBuffer {
        var metrics = HostMetrics()
        for report in reports { metrics.add(report.text, of: report.worker, ageSeconds: 0) }
        return metrics.text(isComplete: true)
    }

    /// Reads a merged text. Returns the samples of one worker.
    private static func lines(_ text: ByteBuffer, of worker: String) throws -> [String] {
        guard let string = String(validating: text.readableBytesView, as: UTF8.self), string.utf8.last == 10 else {
            throw Broken(description: "no text: \(text)")
        }
        var lines: [String] = []
        var (names, series): (Set<String>, Set<String>) = ([], [])
        var family = (help: "", name: "", kind: "")
        for bytes in string.utf8.dropLast().split(separator: 10, omittingEmptySubsequences: false) {
            let line = String(Substring(bytes))
            try require(bytes.allSatisfy { $0 >= 0x20 && $0 != 0x7f }, "a control character: \(line)")
            let words = line.split(separator: " ", maxSplits: 3)
            if line.hasPrefix("# HELP ") {
                try require(words.count >= 3 && names.insert(String(words[2])).inserted, "twice: \(line)")
                family = (String(words[2]), "", "")
            } else if line.hasPrefix("# TYPE ") {
                try require(words.count == 4 && words[2] == family.help, "not after its help: \(line)")
                family = (family.help, String(words[2]), String(words[3]))
            } else {
                let sample = try Sample(line)
                let suffixes = family.kind == "histogram" ? ["_bucket", "_sum", "_count"] : [""]
                try require(suffixes.contains { sample.name == family.name + $0 }, "of another metric: \(line)")
                try require(sample.name.hasPrefix("apiworker_"), "another name: \(line)")
                try require(series.insert(sample.series).inserted, "a series comes twice: \(line)")
                let isAboutAll = ["apiworker_metrics_workers", "apiworker_metrics_complete"].contains(sample.name)
                let workers = sample.labels.filter { $0.name == "worker" }.map(\.value)
                try require(isAboutAll || workers == ["0"] || workers == ["9"], "of nobody: \(line)")
                if workers == [worker], !sample.name.hasPrefix("apiworker_metrics_") { lines.append(line) }
            }
        }
        return lines
    }

    private struct Sample {
        var name: String
        var labels: [(name: String, value: String)] = []

        var series: String { name + labels.map { "\($0.name)=\($0.value)" }.sorted().joined(separator: "\n") }

        init(_ line: String) throws {
            var rest = Substring(line).unicodeScalars
            func take(_ isPart: (Unicode.Scalar) -> Bool) -> String {
                let part = rest.prefix(while: isPart)
                rest = rest.dropFirst(part.count)
                return String(part)
            }
            name = take { $0 != "{" && $0 != " " }
            if rest.popFirst() == "{" {
                repeat {
                    let label = take { $0 != "=" }
                    try require(rest.popFirst() == "=" && rest.popFirst() == "\"", "no label: \(line)")
                    var isEscape = false
                    let value = take { scalar in
                        defer { isEscape = !isEscape && scalar == "\\" }
                        return isEscape || scalar != "\""
                    }
                    try require(rest.popFirst() == "\"", "no end of a label: \(line)")
                    labels.append((label, value))
                } while take({ $0 == "," }) == ","
                try require(rest.popFirst() == "}" && rest.popFirst() == " ", "no end of the labels: \(line)")
            }
            try require(Set(labels.map(\.name)).count == labels.count, "a label comes twice: \(line)")
            let number = Double(String(rest))
            try require(
                ["NaN", "+Inf", "-Inf"].contains(String(rest)) || number?.isFinite == true, "no number: \(line)")
        }
    }
}
