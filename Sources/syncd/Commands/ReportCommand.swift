import ArgumentParser
import IPC

/// `syncd report`: how fresh the caches of this host were.
struct ReportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "report", abstract: "Show how fresh the caches of this host were, in total and per day.",
        discussion: """
            Shares of time attached, idle and isolated, with reasons; how long invalidations took; audits, and the \
            bound that their number supports; pending invalidations; cold starts. Days are in UTC, at most 31. \
            Exit status: 0 attached, 1 isolated, 3 no syncd answers. docs/operations.md explains each line.
            """)

    @OptionGroup var socket: SocketOption
    @Flag(help: "Print everything as JSON.") var json = false

    func run() async throws {
        let state = try await ClientSession.with(socket) { client in
            let report = try await ClientSession.answer(client, .status(section: "report"))
            guard case .fields(let fields)? = try StatusField.decode(report).first?.value else {
                return ShownState?.none
            }
            let complete = Self.withBounds(fields)
            try StandardOutput.write(json ? StatusJSON.render(complete) : ReportTable.render(complete))
            return ShownState(rawValue: fields.value("state").plain)
        }
        if state?.areCachesUsable != true { throw ExitCode.isolated }
    }

    /// Adds to all figures of audits how many were judged, and the bound on the share of stale answers.
    static func withBounds(_ fields: [StatusField]) -> [StatusField] {
        fields.map { field in
            switch field.value {
            case .fields(let inner) where field.name == "audits":
                StatusField(field.name, .fields(inner + AuditFigures(reported: inner).bound))
            case .fields(let inner): StatusField(field.name, .fields(withBounds(inner)))
            case .list(let items):
                StatusField(
                    field.name,
                    .list(items.map { if case .fields(let inner) = $0 { .fields(withBounds(inner)) } else { $0 } }))
            default: field
            }
        }
    }
}
