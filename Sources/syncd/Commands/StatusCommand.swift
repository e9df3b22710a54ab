import ArgumentParser
import Glibc
import IPC

/// `syncd status`: the state of the host, for people and for scripts.
struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show how this host is.",
        discussion: """
            Exit status: 0 attached, 1 isolated, 3 no syncd answers. The names in the JSON are those of STATUS in the \
            protocol's documentation and stay as they are; further ones may be added.
            """)

    @OptionGroup var socket: SocketOption
    @Flag(help: "Print everything as JSON.") var json = false
    @Flag(help: "Show it again and again, in place, until interrupted.") var watch = false
    @Option(help: ArgumentHelp("How often it is shown again.", valueName: "seconds")) var interval = 1.0

    func validate() throws {
        if json && watch { throw ValidationError("--json and --watch do not go together") }
        guard (0.1...3600).contains(interval) else { throw ValidationError("--interval: 0.1 to 3600 seconds") }
    }

    func run() async throws {
        if watch {
            try await StatusWatch(path: socket.resolved(), interval: .seconds(interval)).run()
            return
        }
        let state = try await ClientSession.with(socket) { client in
            let sections = try await ClientSession.status(client)
            let audit = AuditFigures(sections).map { [$0.section] } ?? []
            try StandardOutput.write(
                json ? StatusJSON.render(sections + audit) : StatusTable.render(sections, time: time(nil)))
            return ShownState(of: sections)
        }
        if state?.areCachesUsable != true { throw ExitCode.isolated }
    }
}

extension ShownState {
    /// `log.state` of STATUS.
    init?(of sections: [StatusField]) { self.init(rawValue: sections.value("log", "state").plain) }
}

extension [StatusField] {
    /// The value at a path of names; `.null` if there is none.
    func value(_ path: String...) -> StatusValue { value(at: path) }

    func value(at path: [String]) -> StatusValue {
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
    /// Converts bytes that are text to text.
    var normalized: StatusValue {
        if case .bytes(let bytes) = self { .text(bytes.escaped) } else { self }
    }

    /// The value as text for people.
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
