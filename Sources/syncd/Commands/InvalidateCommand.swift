import ArgumentParser
import IPC
import NIOCore

/// `syncd invalidate TAG…`: invalidates cached values by hand.
struct InvalidateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "invalidate", abstract: "Invalidate everything that has one of the tags.",
        discussion:
            "Prints the log position, or DEFERRED when this host is cut off from the log and the invalidation is pending."
    )

    @OptionGroup var socket: SocketOption
    @Flag(help: "Invalidate everything.") var all = false
    @Argument(help: "Tags, for example users or user:<id>; =<key> for one key.") var tags: [String] = []

    func validate() throws {
        if all == !tags.isEmpty { throw ValidationError("give tags, or --all") }
    }

    func run() async throws {
        let tags = (all ? ["*"] : tags).map { ByteBuffer(string: $0) }
        try await ClientSession.with(socket) { client in
            switch try await ClientSession.answer(client, .invalidate(tags: tags, event: nil)) {
            case .integer(let position): try StandardOutput.write("\(position)\n")
            case let other: try StandardOutput.write(other.escapedText + "\n")
            }
        }
    }
}

extension RESPValue {
    /// The printable text of a simple or bulk string.
    var escapedText: String {
        switch self {
        case .simpleString(let text), .bulkString(let text), .error(let text): text.escaped
        case .integer(let number): String(number)
        default: "?"
        }
    }
}
