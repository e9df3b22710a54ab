/// A line of the text format of Prometheus that another program wrote. Lines that a reader somewhere could refuse are
/// none: one of them would cost the whole text.
enum MetricsLine {
    case help(name: String, text: ArraySlice<UInt8>)
    case type(name: String, MetricKind)
    case sample(MetricsSample)

    /// Longer lines are left out.
    static let maximumBytes = 4096

    /// `nil`: a comment, or not such a line.
    init?(_ line: ArraySlice<UInt8>) {
        guard line.count <= Self.maximumBytes, line.allSatisfy({ $0 >= 0x20 && $0 != 0x7f }),
            line.allSatisfy({ $0 < 0x80 }) || String(validating: line, as: UTF8.self) != nil
        else { return nil }
        if line.first != UInt8(ascii: "#") {
            guard let sample = MetricsSample(line) else { return nil }
            self = .sample(sample)
            return
        }
        let words = line.split(separator: UInt8(ascii: " "), maxSplits: 3, omittingEmptySubsequences: false)
        guard words.count == 4, words[0] == [UInt8(ascii: "#")], MetricsSample.isName(words[2]) else { return nil }
        let name = String(decoding: words[2], as: UTF8.self)
        if words[1].elementsEqual("HELP".utf8) {
            guard Self.isEscaped(words[3], quotes: false) else { return nil }
            self = .help(name: name, text: words[3])
        } else {
            guard words[1].elementsEqual("TYPE".utf8),
                let kind = MetricKind(rawValue: String(decoding: words[3], as: UTF8.self))
            else { return nil }
            self = .type(name: name, kind)
        }
    }

    /// Whether every backslash begins an escape. `quotes`: whether quotation marks have to be escaped.
    static func isEscaped(_ text: ArraySlice<UInt8>, quotes: Bool) -> Bool {
        var isEscape = false
        for byte in text {
            if isEscape {
                let isKnown = byte == UInt8(ascii: "\\") || byte == UInt8(ascii: "n")
                guard isKnown || (quotes && byte == UInt8(ascii: "\"")) else { return false }
                isEscape = false
            } else {
                if quotes, byte == UInt8(ascii: "\"") { return false }
                isEscape = byte == UInt8(ascii: "\\")
            }
        }
        return !isEscape
    }
}

/// The type of a metric in a text that another program wrote.
enum MetricKind: String, Sendable {
    case counter, gauge, histogram

    /// The names that the samples of a metric may have, and its own.
    func names(_ name: String) -> [String] {
        self == .histogram ? [name, name + "_bucket", name + "_sum", name + "_count"] : [name]
    }

    /// Whether a sample is one of this metric.
    func admits(_ sample: MetricsSample, of name: String) -> Bool {
        guard sample.name.starts(with: name.utf8) else { return false }
        let isTotal = name.hasSuffix("_total")
        let bound = sample.label("le")
        return switch (self, String(decoding: sample.name.dropFirst(name.utf8.count), as: UTF8.self)) {
        case (.gauge, ""): !isTotal
        case (.counter, ""): isTotal && sample.isCount
        case (.histogram, "_bucket"): sample.isCount && bound.flatMap(MetricsSample.number)?.isNaN == false
        case (.histogram, "_count"): sample.isCount && bound == nil
        case (.histogram, "_sum"): sample.number.isFinite && bound == nil
        default: false
        }
    }
}
