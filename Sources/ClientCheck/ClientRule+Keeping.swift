import IPCTesting
import IPCWire

// Checks of values that a client stores itself: when they must not be used any more.
extension ClientRule {
    static let keeping = [
        ClientRule("invalidation", "A kept value dies with any of its tags.", need: .keptValues) { stage in
            let tags = try await stage.load("k", 7)
            stage.database.set("k", 8)
            stage.syncd.invalidate(Array(tags.suffix(1)))
            try await stage.expectFresh("k", 8, "one of its tags was invalidated")
        },
        ClientRule("hit-tags", "The tags of a hit are those that syncd names.", need: .keptValues) { stage in
            stage.syncd.script {
                $0.fetchedText == "k" ? .reply(.fetched(stage.syncd.entry("7", tags: ["named by syncd"]))) : nil
            }
            try stage.expect(try await stage.read("k"), "7", "a hit")
            stage.syncd.script(nil)
            stage.database.set("k", 8)
            stage.syncd.invalidate(["named by syncd"])
            try await stage.expectFresh("k", 8, "a tag of the hit was invalidated")
        },
        ClientRule("own-tag", "Every value has the tag = and its key.", need: .keptValues) { stage in
            _ = try await stage.load("k", 7)
            stage.database.set("k", 8)
            stage.syncd.invalidate(["=k"])
            try await stage.expectFresh("k", 8, "=k was invalidated")
        },
        ClientRule("everything", "Every value has the tag *.", need: .keptValues) { stage in
            _ = try await stage.load("k", 7)
            stage.database.set("k", 8)
            stage.syncd.invalidate(["*"])
            try await stage.expectFresh("k", 8, "* was invalidated")
        },
        ClientRule("other-tag", "A value whose tags are untouched is still good.", need: .keptValues) { stage in
            _ = try await stage.load("k", 7)
            let before = stage.syncd.fetches("k")
            stage.syncd.invalidate(["something else altogether"])
            try stage.expect(try await stage.read("k"), "7", "another tag was invalidated")
            try stage.expect(stage.syncd.fetches("k") == before, "it forgot a value that is still good")
        },
        ClientRule("epoch", "With another epoch everything that was kept is worthless.", need: .keptValues) { stage in
            _ = try await stage.load("k", 7)
            stage.database.set("k", 8)
            stage.syncd.raiseEpoch()
            try await stage.expectFresh("k", 8, "the epoch was raised")
        },
        ClientRule("same-epoch", "A push `epoch` means: drop everything, also with the same number.", need: .pushes) {
            stage in
            _ = try await stage.load("k", 7)
            stage.database.set("k", 8)
            stage.syncd.raiseEpoch(by: 0)
            try await stage.expectFresh("k", 8, "a push said that everything is worthless")
        },
        ClientRule("time-to-live", "A value is not used longer than syncd says.", need: .keptValues) { stage in
            stage.syncd.script {
                $0.fetchedText == "k" ? .reply(.fetched(stage.syncd.entry("7", ttlMilliseconds: 150))) : nil
            }
            try stage.expect(try await stage.read("k"), "7", "a hit")
            stage.syncd.script(nil)
            stage.database.set("k", 8)
            try await Task.sleep(for: .milliseconds(200))
            try stage.expect(try await stage.read("k"), "8", "the value had 150 ms to live, and 200 have passed")
        },
        ClientRule(
            "old-heartbeat", "A kept value is used only within 1 s of the time that the last heartbeat carries.",
            need: .keptValues
        ) { stage in
            _ = try await stage.load("k", 7)
            stage.database.set("k", 8)
            stage.syncd.setPulse {
                $0.isHeartbeatDue = false
                $0.heartbeatAge = 1_020_000_000
            }
            try await stage.expectFresh("k", 8, "the last heartbeat is of more than 1 s ago, whenever it was read")
        },
        ClientRule(
            "old-fresh-as-of", "A kept value is used only within 2 s of freshAsOf.", need: .keptValues
        ) { stage in
            _ = try await stage.load("k", 7)
            stage.database.set("k", 8)
            stage.syncd.setPulse { $0.freshAsOfAge = 2_020_000_000 }
            try await stage.expectFresh("k", 8, "syncd writes heartbeats, but freshAsOf is of more than 2 s ago")
        },
        ClientRule("isolated", "While the state is isolated nothing that was kept is used.", need: .keptValues) {
            stage in
            _ = try await stage.load("k", 7)
            stage.database.set("k", 8)
            stage.syncd.script { $0.fetchedText == nil ? nil : .reply(.fetched(.miss)) }
            stage.syncd.setState(.isolated)
            try await stage.expectFresh("k", 8, "syncd is isolated")
        },
        ClientRule(
            "lost-connection", "What was invalidated while it was not connected is not served afterwards.",
            need: .keptValues
        ) { stage in
            let tags = try await stage.load("k", 7)
            stage.database.set("k", 8)
            let before = stage.syncd.heard.count
            stage.syncd.closeConnections()
            try await stage.until("its connections end") { !stage.syncd.isTracked }
            stage.syncd.invalidate(tags)
            try await stage.until("it connects again within 5 s") {
                stage.syncd.heard.dropFirst(before).contains { if case .hello = $0.request { true } else { false } }
            }
            try await stage.expectFresh("k", 8, "it was invalidated between two connections")
        },
    ]
}
