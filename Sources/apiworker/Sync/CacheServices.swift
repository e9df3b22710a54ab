import IPC
import ProcessSupport
import ServiceLifecycle

/// Keeps the cache connected to syncd.
struct CacheConnection: Service {
    let cache: SyncedCache

    func run() async throws {
        await cancelWhenGracefulShutdown { try? await cache.run() }
    }
}

/// Reports this worker's counters and metrics to syncd, for STATUS and for the metrics of the host.
struct FigureReports: Service {
    let metrics: SharedMetrics

    /// The interval at which the cache sends them.
    private static let interval = Duration.seconds(1)

    func run() async {
        await cancelWhenGracefulShutdown {
            let core = ProcessorAffinity.onlyCore.map { [ReportField("core", $0)] } ?? []
            let own = metrics.own
            var (before, then) = (own.requests.total, ContinuousClock.now)
            while !Task.isCancelled {
                let (count, now) = (own.requests.total, ContinuousClock.now)
                let perSecond = max(0, Double(count - before)) / max(0.001, (now - then) / .seconds(1))
                (before, then) = (count, now)
                own.state.cache.report(
                    core + [
                        ReportField("http-requests", count),
                        ReportField("http-requests-per-s", Int(perSecond.rounded())),
                        ReportField("http-connections", own.connections.count),
                        ReportField("event-streams", own.streams.count),
                    ])
                await metrics.report()
                try? await Task.sleep(for: Self.interval)
            }
        }
    }
}

extension ReportField {
    fileprivate init(_ name: String, _ number: Int) {
        self.init(name: .init(string: name), value: .init(string: String(number)))
    }
}
