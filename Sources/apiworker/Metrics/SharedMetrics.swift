import IPC
import NIOCore
import ProcessSupport

/// `GET /metrics`: the metrics of all workers of the host, whichever of them is asked; without syncd those of this one.
///
/// Every second, and before each answer, a worker reports its metrics to syncd, and an answer has what syncd holds. If it
/// had newer values of the worker that answers, the next answer, of another worker, could have older ones: a counter that
/// goes down means a restart to Prometheus.
actor SharedMetrics {
    nonisolated let own: WorkerMetrics
    private let socketPath: String?
    private let eventLoop: any EventLoop
    /// The only core of this process, which names it.
    private let core = ProcessorAffinity.onlyCore.map { String($0) }
    /// The name that syncd gave this worker last.
    private var name: String?
    private var reporting: Task<(text: ByteBuffer, isTaken: Bool), Never>?
    /// However many ask at once. An answer is not kept: the one before, of another worker, may be newer.
    private let recent = RecentAnswer<ByteBuffer>(interval: .zero)

    init(own: WorkerMetrics, socketPath: String?, eventLoop: any EventLoop) {
        self.own = own
        self.socketPath = socketPath
        self.eventLoop = eventLoop
    }

    /// The body of `GET /metrics`.
    var body: ByteBuffer {
        get async { await recent.value { await self.ask() } }
    }

    /// Reports this worker's metrics to syncd, one report after the other: an older one must not replace a newer one.
    ///
    /// - Returns: the report; `isTaken`: syncd has it.
    @discardableResult
    func report() async -> (text: ByteBuffer, isTaken: Bool) {
        let former = reporting
        let task = Task {
            _ = await former?.value
            return await send()
        }
        reporting = task
        return await task.value
    }

    private func send() async -> (text: ByteBuffer, isTaken: Bool) {
        let text = own.text
        let given = await own.state.cache.report(metrics: text, as: name ?? core ?? "")
        if let given { name = given }
        return (text, given != nil)
    }

    private func ask() async -> ByteBuffer {
        let (text, isTaken) = await report()
        let all = isTaken ? await reports() : nil
        var metrics = HostMetrics()
        metrics.add(text, of: name ?? core ?? own.state.worker.text, ageSeconds: 0)
        for report in all ?? [] {
            metrics.add(
                report.text, of: String(buffer: report.worker), ageSeconds: Double(report.ageMilliseconds) / 1000)
        }
        return metrics.text(isComplete: all != nil)
    }

    /// The reports of all workers. A separate connection: the cache's must not wait behind a long answer.
    private func reports() async -> [ReportedMetrics]? {
        guard let socketPath,
            let client = try? await SyncdClient.connect(
                path: socketPath, name: "apiworker-metrics", timeout: .seconds(1), eventLoop: eventLoop)
        else { return nil }
        defer { client.close() }
        return try? await client.metrics()
    }
}
