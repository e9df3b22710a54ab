import IPC

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
