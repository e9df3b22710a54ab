import IPC
import SyncCore

/// What `systemctl status` shows of syncd in one line.
struct StateLine: Sendable, Hashable, CustomStringConvertible {
    var mode: LogMode
    var state: SyncState
    /// Why it is isolated.
    var reason: String?

    var description: String {
        switch (state, mode) {
        case (.attached, .redis): "attached: caches are shared through Redis"
        case (.attached, .embedded): "attached: embedded, without Redis"
        case (.isolated, _): "isolated, nothing is answered from cache: \(reason ?? "no reason is known")"
        }
    }
}
