import ArgumentParser
import IPC

/// `syncd status`: how the host is, for people and for scripts.
struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show how this host is.",
        discussion: "Exit status: 0 attached, 1 isolated, 3 no syncd answers.")

    @OptionGroup var socket: SocketOption
    @Flag(help: "Print everything as JSON.") var json = false

    func run() async throws {
        let state = try await ClientSession.with(socket) { client in
            let answer = try await ClientSession.answer(client, .status(section: nil))
            let sections = try StatusField.decode(answer)
            print(json ? StatusJSON.render(sections) : StatusTable.render(sections), terminator: "")
            return sections.value("log", "state")
        }
        if state != .text(SyncState.attached.label) { throw ExitCode.isolated }
    }
}

extension [StatusField] {
    /// The value at a path of names; `.null` if there is none.
    func value(_ path: String...) -> StatusValue {
        var fields = self
        for (index, name) in path.enumerated() {
            guard let field = fields.first(where: { $0.name == name }) else { return .null }
            if index == path.count - 1 { return field.value.normalized }
            guard case .fields(let next) = field.value else { return .null }
            fields = next
        }
        return .null
    }
}

extension StatusValue {
    /// Bytes that are text, as text.
    var normalized: StatusValue {
        if case .bytes(let bytes) = self { .text(bytes.escaped) } else { self }
    }

    /// What a person reads.
    var plain: String {
        switch normalized {
        case .text(let text): text
        case .number(let number): String(number)
        case .flag(let flag): flag ? "yes" : "no"
        case .null: "-"
        case .bytes(let bytes): bytes.escaped
        case .fields(let fields): fields.map { "\($0.name) \($0.value.plain)" }.joined(separator: ", ")
        case .list(let items): items.map(\.plain).joined(separator: ", ")
        }
    }
}
