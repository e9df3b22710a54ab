import ArgumentParser
import IPC

/// `syncd metrics`: STATUS in the text format of Prometheus.
struct MetricsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "metrics", abstract: "Print metrics in the text format of Prometheus.",
        discussion: "For the textfile collector of node_exporter. Exit status: 0, or 3 when no syncd answers.")

    @OptionGroup var socket: SocketOption

    func run() async throws {
        try await ClientSession.with(socket) { client in
            try StandardOutput.write(SyncdMetrics.render(try await ClientSession.status(client)))
        }
    }
}
