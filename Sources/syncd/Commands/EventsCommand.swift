import ArgumentParser
import Glibc
import IPC
import NIOCore
import ProcessSupport

/// `syncd events`: follows events and invalidations, one line each.
struct EventsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "events", abstract: "Follow events and invalidations.",
        discussion:
            "Prints '<time> <channel|invalidate> <payload>' until interrupted. Bytes that are not printable are escaped."
    )

    @OptionGroup var socket: SocketOption
    @Option(help: "Pattern of the channels to follow.") var pattern = "*"

    func run() async throws {
        try await ClientSession.with(socket) { client in
            _ = try await ClientSession.answer(client, .patternSubscribe([ByteBuffer(string: pattern)]))
            _ = try await ClientSession.answer(client, .track(true))
            for await push in client.pushes {
                switch push {
                case .invalidate(let position, let tags):
                    try line("invalidate", "\(position) \(tags.map(\.escaped).joined(separator: " "))")
                case .message(let event), .patternMessage(_, let event):
                    try line(event.channel.escaped, event.payload.escaped)
                case .epoch(let epoch, let reason) where reason != .tracking:
                    try line("epoch", "\(epoch) \(reason.rawValue)")
                case .epoch, .heartbeat, .fetched: continue
                }
            }
            StandardError.write("syncd: the daemon closed the connection\n")
            throw ExitCode.noDaemon
        }
    }

    private func line(_ name: String, _ payload: String) throws {
        try StandardOutput.write("\(Timestamp.now) \(name) \(payload)\n")
    }
}
