import NIOCore

/// The metrics of all workers of a host as one text, each sample with its worker's name (docs/protocol.md, "Metrics").
///
/// A report may come from any program that may use syncd's socket. A line that could spoil the text for a reader, or that
/// claims to be of another worker or of syncd, is left out.
package struct HostMetrics {
    private struct Family {
        let name: String
        let kind: MetricKind
        let help: ArraySlice<UInt8>
        var lines: [UInt8] = []
    }

    /// Reports above this age are of a worker that hangs: they are shown, and the answer is not complete.
    static let maximumAgeSeconds = 10.0

    /// The beginning of the names that a report may have, and of those that it may not.
    static let prefix = "apiworker_"
    static let reservedPrefix = "apiworker_metrics_"

    private static let noHelp = Array("Reported by a worker.".utf8)[...]

    /// In the order in which they came first.
    private var families: [Family] = []
    /// The family to which a sample of this name belongs. Readers find the family of `a_count` by its name, so no metric
    /// may be called like the samples of another one.
    private var owners: [String: Int] = [:]
    private var ages: [(worker: String, seconds: Double)] = []

    package init() {}

    /// Adds the report of a worker. The metrics of the first reports decide about type and help text. A further report of
    /// the same worker is ignored.
    package mutating func add(_ report: ByteBuffer, of worker: String, ageSeconds: Double) {
        guard !ages.contains(where: { $0.worker == worker }) else { return }
        ages.append((worker, ageSeconds))
        let label = Array(PrometheusText.escaped(worker, quotes: true).utf8)
        var helps: [String: ArraySlice<UInt8>] = [:]
        var metric: (name: String, kind: MetricKind)?
        var seen: Set<[UInt8]> = []
        for line in Array(report.readableBytesView).split(separator: UInt8(ascii: "\n")) {
            switch MetricsLine(line) {
            case .help(let name, let text): helps[name] = text
            case .type(let name, let kind): metric = (name, kind)
            case .sample(let sample):
                guard let metric, metric.kind.admits(sample, of: metric.name),
                    let family = family(metric.name, metric.kind, help: helps[metric.name])
                else { continue }
                let series = sample.series(worker: label)
                guard seen.insert(series).inserted else { continue }
                families[family].lines += series
                families[family].lines.append(UInt8(ascii: " "))
                families[family].lines += sample.value
                families[family].lines.append(UInt8(ascii: "\n"))
            case nil: continue
            }
        }
    }

    /// The place of a family, which is new or has the same type; `nil`: its name is taken or reserved.
    private mutating func family(_ name: String, _ kind: MetricKind, help: ArraySlice<UInt8>?) -> Int? {
        if let known = owners[name] {
            return families[known].name == name && families[known].kind == kind ? known : nil
        }
        let names = kind.names(name)
        guard
            names.allSatisfy({
                $0.hasPrefix(Self.prefix) && !$0.hasPrefix(Self.reservedPrefix) && owners[$0] == nil
            })
        else { return nil }
        for name in names { owners[name] = families.count }
        families.append(Family(name: name, kind: kind, help: help ?? Self.noHelp))
        return families.count - 1
    }

    /// All metrics, and three about the answer itself.
    ///
    /// - Parameter isComplete: whether these are the reports of all workers that syncd knows.
    package func text(isComplete: Bool) -> ByteBuffer {
        var about = PrometheusText(prefix: Self.reservedPrefix)
        about.add("workers", .gauge, help: "Workers in this answer.", Double(ages.count))
        about.add(
            "complete", .gauge,
            help: "1 if these are all workers that syncd knows, and none is silent.",
            isComplete && ages.allSatisfy { $0.seconds <= Self.maximumAgeSeconds } ? 1 : 0)
        about.add(
            "age_seconds", .gauge, help: "Time since the worker's report.",
            ages.map { ([("worker", $0.worker)], $0.seconds) })
        var text = ByteBuffer()
        for family in families {
            text.writeString("# HELP \(family.name) ")
            text.writeBytes(family.help)
            text.writeString("\n# TYPE \(family.name) \(family.kind.rawValue)\n")
            text.writeBytes(family.lines)
        }
        text.writeString(about.text)
        return text
    }
}
