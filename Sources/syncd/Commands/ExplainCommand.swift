import ArgumentParser
import IPC
import NIOCore

/// `syncd explain KEY`: where a key's value is, and why it is fresh or not.
struct ExplainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain", abstract: "Show where a cached value is, and why it is fresh or not.")

    @OptionGroup var socket: SocketOption
    @Argument(help: "The key, for example users:all.") var key: String

    func run() async throws {
        try await ClientSession.with(socket) { client in
            let answer = try await ClientSession.answer(client, .explain(key: ByteBuffer(string: key)))
            for field in try StatusField.decode(answer) { Self.show(field) }
        }
    }

    private static func show(_ field: StatusField) {
        guard case .list(let items) = field.value else {
            print("\(field.name): \(field.value.plain)")
            return
        }
        print("\(field.name):")
        for item in items { print("  \(item.plain)") }
    }
}
