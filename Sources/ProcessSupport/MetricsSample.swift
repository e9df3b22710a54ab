/// A sample in a text that another program wrote: no time, no label `worker`, no label twice.
struct MetricsSample {
    typealias Label = (name: ArraySlice<UInt8>, value: ArraySlice<UInt8>)

    let name: ArraySlice<UInt8>
    /// Labels with a value, ascending by name; values are escaped.
    let labels: [Label]
    /// As it was written.
    let value: ArraySlice<UInt8>
    let number: Double

    /// `nil`: the line is none.
    init?(_ line: ArraySlice<UInt8>) {
        name = line.prefix { $0 != UInt8(ascii: "{") && $0 != UInt8(ascii: " ") }
        guard Self.isName(name) else { return nil }
        var rest = line[name.endIndex...]
        guard var labels = Self.labels(&rest), rest.popFirst() == UInt8(ascii: " "), let number = Self.number(rest)
        else { return nil }
        labels.sort { $0.name.lexicographicallyPrecedes($1.name) }
        guard zip(labels, labels.dropFirst()).allSatisfy({ $0.name != $1.name }) else { return nil }
        // An empty label is the same as none.
        self.labels = labels.filter { !$0.value.isEmpty }
        value = rest
        self.number = number
    }

    /// Whether the value may be that of a counter.
    var isCount: Bool { number.isFinite && number >= 0 }

    func label(_ name: String) -> ArraySlice<UInt8>? { labels.first { $0.name.elementsEqual(name.utf8) }?.value }

    /// The sample's beginning up to its value, with one more label.
    func series(worker: [UInt8]) -> [UInt8] {
        var series = Array(name)
        series += "{worker=\"".utf8
        series += worker
        for label in labels {
            series += "\",".utf8
            series += label.name
            series += "=\"".utf8
            series += label.value
        }
        series += "\"}".utf8
        return series
    }

    /// Takes the labels in braces, if there are any, from the front of a line; `nil`: they can't be read.
    private static func labels(_ rest: inout ArraySlice<UInt8>) -> [Label]? {
        guard rest.first == UInt8(ascii: "{") else { return [] }
        rest.removeFirst()
        var labels: [Label] = []
        while rest.first != UInt8(ascii: "}") {
            let name = rest.prefix { $0 != UInt8(ascii: "=") }
            rest = rest[name.endIndex...].dropFirst()
            guard isName(name), !name.contains(UInt8(ascii: ":")), !name.starts(with: "__".utf8),
                !name.elementsEqual("worker".utf8), rest.popFirst() == UInt8(ascii: "\"")
            else { return nil }
            var isEscape = false
            let value = rest.prefix { byte in
                defer { isEscape = !isEscape && byte == UInt8(ascii: "\\") }
                return isEscape || byte != UInt8(ascii: "\"")
            }
            rest = rest[value.endIndex...]
            guard rest.popFirst() == UInt8(ascii: "\""), MetricsLine.isEscaped(value, quotes: true) else { return nil }
            labels.append((name, value))
            if rest.first == UInt8(ascii: ",") {
                rest.removeFirst()
            } else if rest.first != UInt8(ascii: "}") {
                return nil
            }
        }
        rest.removeFirst()
        return labels
    }

    static func isName(_ text: ArraySlice<UInt8>) -> Bool {
        guard let first = text.first, !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) else { return false }
        return text.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: ":"):
                true
            default: false
            }
        }
    }

    /// A number in a form that every reader knows, and within the range of a double.
    static func number(_ text: ArraySlice<UInt8>) -> Double? {
        let text = String(decoding: text.prefix(65), as: UTF8.self)
        switch text {
        case "+Inf": return .infinity
        case "-Inf": return -.infinity
        case "NaN": return .nan
        default:
            guard text.utf8.count <= 64, text.utf8.allSatisfy({ "0123456789.eE+-".utf8.contains($0) }),
                let last = text.utf8.last, last != UInt8(ascii: "."), let number = Double(text), number.isFinite
            else { return nil }
            return number
        }
    }
}
