import IPC
import Notation

/// STATUS as JSON: the same names, sections as objects, clients as an array.
enum StatusJSON {
    static func render(_ sections: [StatusField]) -> String { object(sections, indent: 0) + "\n" }

    private static func object(_ fields: [StatusField], indent: Int) -> String {
        guard !fields.isEmpty else { return "{}" }
        let inner = String(repeating: "  ", count: indent + 1)
        let lines = fields.map { "\(inner)\(JSONString.quoted($0.name)): \(value($0.value, indent: indent + 1))" }
        return "{\n\(lines.joined(separator: ",\n"))\n\(String(repeating: "  ", count: indent))}"
    }

    private static func value(_ value: StatusValue, indent: Int) -> String {
        switch value {
        case .text(let text): JSONString.quoted(text)
        case .bytes(let bytes): JSONString.quoted(bytes.escaped)
        case .number(let number): String(number)
        case .flag(let flag): flag ? "true" : "false"
        case .null: "null"
        case .fields(let fields): object(fields, indent: indent)
        case .list(let items): "[\(items.map { self.value($0, indent: indent) }.joined(separator: ", "))]"
        }
    }
}
