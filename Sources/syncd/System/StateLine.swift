import IPC
import SyncCore

/// The state of syncd as one line for `systemctl status`.
struct StateLine: Sendable, Hashable, CustomStringConvertible {
    var mode: LogMode
    var state: ShownState
    /// The reason of an isolation.
    var reason: String?

    var description: String {
        switch (state, mode) {
        case (.attached, .redis): "attached: caches are shared through Redis"
        case (.attached, .embedded): "attached: embedded, without Redis"
        case (.idle, _): "idle: nobody reads, so Redis is asked seldom"
        case (.isolated, _): "isolated, nothing is answered from cache: \(reason ?? "no reason is known")"
        }
    }
}
