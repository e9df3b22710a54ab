import IPCTesting
import IPCWire
import NIOCore

// FETCH … WAIT: a ticket now, the outcome as a push.
extension ClientRule {
    static let waiting = [
        ClientRule("wait", "A ticket's outcome comes as a push; nothing else waits for it.", need: .waiting) { stage in
            stage.syncd.script { $0.fetchedText == "k" ? .reply(.wait(ticket: 5)) : nil }
            async let answer = stage.read("k")
            try await stage.until("a FETCH for k") { stage.syncd.fetches("k") > 0 }
            _ = try await stage.load("other", 3)
            try stage.expect(stage.database.loads("k") == 0, "it did not wait for its ticket")
            push(.fetched(ticket: 5, stage.syncd.entry("7")), to: stage)
            try stage.expect(try await answer, "7", "the outcome of its ticket was a hit")
        },
        ClientRule(
            "overtaken-ticket", "A ticket is a reply and comes in its turn; its outcome may overtake it.",
            need: .waiting
        ) { stage in
            stage.syncd.script { $0.fetchedText == "k" ? .hold : nil }
            async let answer = stage.read("k")
            try await stage.until("a FETCH for k") { stage.syncd.fetches("k") > 0 }
            push(.fetched(ticket: 6, stage.syncd.entry("7")), to: stage)
            stage.syncd.heard.last { $0.request.fetchedText == "k" }?.connection.send(.wait(ticket: 6))
            try stage.expect(try await answer, "7", "the outcome came before the ticket")
        },
        ClientRule("wait-lease", "A ticket may end in a lease.", need: .waiting) { stage in
            let lease = stage.syncd.newLease()
            stage.syncd.script { $0.fetchedText == "k" ? .reply(.wait(ticket: 7)) : nil }
            stage.database.set("k", 9)
            async let answer = stage.read("k")
            try await stage.until("a FETCH for k") { stage.syncd.fetches("k") > 0 }
            push(.fetched(ticket: 7, .lease(lease)), to: stage)
            try stage.expect(try await answer, "9", "the outcome of its ticket was a lease")
            try stage.expect(stage.syncd.fills("k").map(\.lease) == [lease.id], "it did not FILL under that lease")
        },
        ClientRule("wait-miss", "A ticket that ends in a miss: read the database, and store nothing.", need: .waiting) {
            stage in
            stage.syncd.script { $0.fetchedText == "k" ? .reply(.wait(ticket: 8)) : nil }
            stage.database.set("k", 9)
            async let answer = stage.read("k")
            try await stage.until("a FETCH for k") { stage.syncd.fetches("k") > 0 }
            push(.fetched(ticket: 8, .miss), to: stage)
            try stage.expect(try await answer, "9", "the outcome of its ticket was a miss")
            try stage.expect(stage.syncd.fills("k").isEmpty, "it sent a FILL without having a lease")
        },
        ClientRule(
            "wait-silence", "A ticket of a syncd that has fallen silent is given up within 500 ms.", need: .waiting,
            isTimed: true
        ) { stage in
            stage.database.set("k", 9)
            stage.syncd.script { $0.fetchedText == "k" ? .reply(.wait(ticket: 9)) : nil }
            async let answer = stage.timedRead("k")
            try await stage.until("a FETCH for k") { stage.syncd.fetches("k") > 0 }
            stage.syncd.standStill()
            let (value, time) = try await answer
            try stage.expect(value, "9", "syncd fell silent")
            try stage.expect(time < .milliseconds(600) + CheckStage.tolerance, "it waited for \(time)")
        },
        ClientRule("unknown-push", "A push that it does not know is no reply to anything.", need: .waiting) { stage in
            stage.syncd.script { $0.fetchedText == "k" ? .hold : nil }
            async let answer = stage.read("k")
            try await stage.until("a FETCH for k") { stage.syncd.fetches("k") > 0 }
            let connection = stage.syncd.heard.last { $0.request.fetchedText == "k" }?.connection
            connection?.send(ByteBuffer(string: ">2\r\n$5\r\nlater\r\n:1\r\n"))
            connection?.send(.fetched(stage.syncd.entry("7")))
            try stage.expect(try await answer, "7", "an unknown push came before the reply")
        },
    ]

    private static func push(_ push: Push, to stage: CheckStage) {
        stage.syncd.heard.last { $0.request.fetchedText == "k" }?.connection.send(push)
    }
}
