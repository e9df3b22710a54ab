import IPC
import IPCTesting
import IPCWire

// Checks of values that a client finds in the value arena: they are judged by the same rule as those that it keeps.
extension ClientRule {
    static let sharing = [
        ClientRule("shared-invalidation", "A shared value dies with any of its tags.", need: .sharedMemory) { stage in
            for tag: CacheTag in ["t", "=k", "*"] {
                stage.syncd.share("7", as: "k", tags: ["s", "t"])
                stage.database.set("k", 8)
                stage.syncd.invalidate([tag])
                try stage.expect(try await stage.read("k"), "8", "its tag \(tag) was invalidated")
                stage.syncd.invalidate(["=k"])
            }
        },
        ClientRule("shared-other-tag", "A shared value whose tags are untouched is good.", need: .sharedMemory) {
            stage in
            stage.syncd.share("7", as: "k", tags: ["t"])
            stage.syncd.invalidate(["something else altogether"])
            try stage.expect(try await stage.read("k"), "7", "another tag was invalidated")
        },
        ClientRule("shared-log", "A shared value of another log is worthless.", need: .sharedMemory) { stage in
            stage.syncd.share("7", as: "k", incarnation: Incarnation(high: 7, low: 7))
            stage.database.set("k", 8)
            try stage.expect(try await stage.read("k"), "8", "it is of another incarnation")
        },
        ClientRule(
            "shared-first-known", "A shared value from before the first known position is worthless.",
            need: .sharedMemory
        ) { stage in
            stage.syncd.share("7", as: "k")
            stage.database.set("k", 8)
            stage.syncd.table.setFirstKnownPosition(stage.syncd.invalidate(["something else altogether"]))
            try stage.expect(try await stage.read("k"), "8", "nobody knows what was invalidated since")
        },
        ClientRule("shared-time-to-live", "A shared value is not used longer than it may live.", need: .sharedMemory) {
            stage in
            stage.syncd.share("7", as: "k", lifetime: .milliseconds(50))
            stage.database.set("k", 8)
            try await Task.sleep(for: .milliseconds(100))
            try stage.expect(try await stage.read("k"), "8", "it had 50 ms to live, and 100 have passed")
        },
        ClientRule(
            "shared-old-heartbeat",
            "A shared value is used only within 1 s of the time that the last heartbeat carries.",
            need: .sharedMemory
        ) { stage in
            stage.syncd.share("7", as: "k")
            stage.database.set("k", 8)
            stage.syncd.setPulse {
                $0.isHeartbeatDue = false
                $0.heartbeatAge = 1_020_000_000
            }
            try stage.expect(try await stage.read("k"), "8", "the last heartbeat is of more than 1 s ago")
        },
        ClientRule("shared-isolated", "While the state is isolated nothing shared is used.", need: .sharedMemory) {
            stage in
            stage.syncd.share("7", as: "k")
            stage.database.set("k", 8)
            stage.syncd.script { $0.fetchedText == nil ? nil : .reply(.fetched(.miss)) }
            stage.syncd.setState(.isolated)
            try stage.expect(try await stage.read("k"), "8", "syncd is isolated")
        },
    ]
}
