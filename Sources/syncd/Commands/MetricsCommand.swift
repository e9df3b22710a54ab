import ArgumentParser
import IPC
import ProcessSupport

/// `syncd metrics`: STATUS and the metrics of the workers in the text format of Prometheus.
struct MetricsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "metrics", abstract: "Print metrics in the text format of Prometheus.",
        discussion: "For the textfile collector of node_exporter. Exit status: 0, or 3 when no syncd answers.")

    @OptionGroup var socket: SocketOption
    @Flag(help: "Leave out the metrics of the workers, which Prometheus gets from one of them.") var withoutWorkers =
        false

    func run() async throws {
        try await ClientSession.with(socket) { client in
            let status = SyncdMetrics.render(try await ClientSession.status(client))
            try StandardOutput.write(status + (withoutWorkers ? "" : try await workers(client)))
        }
    }

    private func workers(_ client: SyncdClient) async throws -> String {
        let reports = try await client.metrics()
        var metrics = HostMetrics()
        for report in reports ?? [] {
            metrics.add(
                report.text, of: String(buffer: report.worker), ageSeconds: Double(report.ageMilliseconds) / 1000)
        }
        return String(buffer: metrics.text(isComplete: reports != nil))
    }
}
