import Foundation
import Synchronization

/// Processes and directories that must not outlive the test process. Those that a test has not ended by itself are
/// ended when the process exits.
enum AtExit {
    struct Token: Sendable, Hashable {
        fileprivate let number: UInt64
    }

    private struct Registry {
        var actions: [UInt64: @Sendable () -> Void] = [:]
        var next: UInt64 = 0
        var isInstalled = false
    }

    private static let registry = Mutex(Registry())

    /// Stores an action until it is run or removed.
    static func add(_ action: @escaping @Sendable () -> Void) -> Token {
        registry.withLock { registry in
            if !registry.isInstalled {
                registry.isInstalled = true
                atexit { AtExit.runAll() }
            }
            registry.next += 1
            registry.actions[registry.next] = action
            return Token(number: registry.next)
        }
    }

    static func remove(_ token: Token) {
        registry.withLock { _ = $0.actions.removeValue(forKey: token.number) }
    }

    static func runNow(_ token: Token) {
        let action = registry.withLock { $0.actions.removeValue(forKey: token.number) }
        action?()
    }

    /// The youngest first: a process goes before the directory that it uses.
    private static func runAll() {
        let actions = registry.withLock { registry in
            defer { registry.actions.removeAll() }
            return registry.actions.sorted { $0.key > $1.key }.map(\.value)
        }
        for action in actions { action() }
    }
}
