import IPC
import ProcessSupport
import ServiceLifecycle

/// Updates the status line of `systemctl status`.
struct ServiceStatus: Service {
    let cache: SyncedCache
    let manager: ServiceManager

    private static let interval = Duration.seconds(1)

    func run() async {
        guard manager.isPresent else { return await untilGracefulShutdown() }
        await cancelWhenGracefulShutdown {
            var last: SyncMode?
            while !Task.isCancelled {
                let mode = cache.status.sync
                if mode != last { manager.notify(.status(Self.line(mode))) }
                last = mode
                try? await Task.sleep(for: Self.interval)
            }
        }
    }

    private func untilGracefulShutdown() async {
        await cancelWhenGracefulShutdown { while !Task.isCancelled { try? await Task.sleep(for: .seconds(3600)) } }
    }

    private static func line(_ mode: SyncMode) -> String {
        switch mode {
        case .attached: "serving, attached to syncd"
        case .isolated: "serving from the database: syncd is isolated"
        case .detached: "serving from the database: no connection to syncd"
        }
    }
}
