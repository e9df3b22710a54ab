import ArgumentParser
import IPC
import NIOCore

/// `syncd explain KEY`: the place of a key's value, and why it is fresh or not.
struct ExplainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain", abstract: "Show where a cached value is, and why it is fresh or not.")

    @OptionGroup var socket: SocketOption
    @Argument(help: "The key, for example users:all.") var key: String

    func run() async throws {
        try await ClientSession.with(socket) { client in
            let answer = try await ClientSession.answer(client, .explain(key: ByteBuffer(string: key)))
            try StandardOutput.write(StatusField.decode(answer).map(Self.lines).joined())
        }
    }

    private static func lines(_ field: StatusField) -> String {
        guard case .list(let items) = field.value else { return "\(field.name): \(field.value.plain)\n" }
        return "\(field.name):\n" + items.map { "  \($0.plain)\n" }.joined()
    }
}
