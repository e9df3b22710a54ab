import IPCWire
import NIOCore

/// STATUS in the text form of Redis' `INFO`: a header per section, `name:value` lines, one line per client.
package enum InfoText {
    package static func render(_ sections: [StatusField]) -> ByteBuffer {
        var text = ""
        for section in sections {
            let title = section.name.prefix(1).uppercased() + section.name.dropFirst()
            text += "# \(title)\r\n"
            switch section.value {
            case .fields(let fields):
                for field in fields { text += "\(name(field.name)):\(plain(field.value))\r\n" }
            case .list(let items):
                for (index, item) in items.enumerated() {
                    guard case .fields(let fields) = item else { continue }
                    let pairs = fields.map { "\(name($0.name))=\(plain($0.value, besides: ",;="))" }
                    text += "\(name(section.name).dropLast())\(index):\(pairs.joined(separator: ","))\r\n"
                }
            default: text += "\(name(section.name)):\(plain(section.value))\r\n"
            }
            text += "\r\n"
        }
        return ByteBuffer(string: text)
    }

    /// Exporters expect underscores.
    private static func name(_ name: String) -> String {
        String(name.map { $0 == "-" ? "_" : $0 })
    }

    /// `special`: characters that end a value in this place.
    private static func plain(_ value: StatusValue, besides special: StaticString = "") -> String {
        switch value {
        case .text(let text): ByteBuffer(string: text).escaped(besides: special)
        case .bytes(let bytes): bytes.escaped(besides: special)
        case .number(let number): String(number)
        case .flag(let flag): flag ? "1" : "0"
        case .null: ""
        case .fields(let fields):
            fields.map { "\(name($0.name))=\(plain($0.value, besides: ",;="))" }.joined(separator: ";")
        case .list(let items): items.map { plain($0, besides: special) }.joined(separator: ";")
        }
    }
}
