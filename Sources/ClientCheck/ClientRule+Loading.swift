import IPCTesting
import IPCWire
import NIOCore

// Checks of FETCH, and of the consequences of its reply.
extension ClientRule {
    static let loading =
        [
            ClientRule("hit", "A hit is the answer; the database is not asked.") { stage in
                stage.database.set("k", 1)
                stage.syncd.script { $0.fetchedText == "k" ? .reply(.fetched(stage.syncd.entry("7"))) : nil }
                try stage.expect(try await stage.read("k"), "7", "syncd had the value")
                try stage.expect(stage.database.loads("k") == 0, "syncd had the value, and it asked the database, too")
            },
            ClientRule("negative-hit", "A hit whose value is null says that there is no such value.") { stage in
                stage.database.set("k", 1)
                stage.syncd.script { $0.fetchedText == "k" ? .reply(.fetched(stage.syncd.entry(nil))) : nil }
                try stage.expect(try await stage.read("k"), "-", "syncd knew that there is no such value")
                try stage.expect(
                    stage.database.loads("k") == 0, "syncd knew that there is none, and it asked the database")
            },
            ClientRule("lease", "Who gets a lease loads the value once and FILLs it under that lease.") { stage in
                let lease = stage.syncd.newLease()
                stage.syncd.script { $0.fetchedText == "k" ? .reply(.fetched(.lease(lease))) : nil }
                _ = try await stage.load("k", 7)
                try stage.expect(
                    stage.database.loads("k") == 1, "it loaded the value \(stage.database.loads("k")) times")
                let fills = stage.syncd.fills("k")
                try stage.expect(
                    fills.map(\.lease) == [lease.id], "it filled under \(fills.map(\.lease)), the lease was \(lease.id)"
                )
                try stage.expect(
                    fills.first?.value == ByteBuffer(string: "7"), "it did not fill with the value that it loaded")
            },
            ClientRule("negative-fill", "That there is no such value is filled, too: without a value.") { stage in
                try stage.expect(try await stage.read("k"), "-", "the database has no such value")
                try await stage.until("a FILL for a key that the database does not have") {
                    !stage.syncd.fills("k").isEmpty
                }
                try stage.expect(
                    stage.syncd.fills("k").first?.value == nil, "it filled with a value that is not in the database")
            },
            ClientRule("miss", "A miss means: read the database, and store nothing.") { stage in
                stage.database.set("k", 7)
                stage.syncd.script { $0.fetchedText == "k" ? .reply(.fetched(.miss)) : nil }
                try stage.expect(try await stage.read("k"), "7", "syncd sent it to the database")
                stage.database.set("k", 8)
                try stage.expect(
                    try await stage.read("k"), "8", "a value that was read without a lease must not be kept")
                try stage.expect(stage.syncd.fills("k").isEmpty, "it sent a FILL without having a lease")
            },
            ClientRule("busy", "An error in answer to FETCH is no reason to fail: the database has the value.") {
                stage in
                stage.database.set("k", 7)
                stage.syncd.script { $0.fetchedText == "k" ? .reply(.error(ReplyError(.busy, "no room"))) : nil }
                try stage.expect(try await stage.read("k"), "7", "syncd was busy")
            },
        ] + refusedFills + [
            ClientRule("abandon", "Who cannot load ABANDONs the lease, so that the next one in line gets it.") {
                stage in
                let lease = stage.syncd.newLease()
                stage.syncd.script { $0.fetchedText == "k" ? .reply(.fetched(.lease(lease))) : nil }
                stage.database.script { verb, key in verb == .load && key == "k" ? .error("no answer today") : nil }
                let before = stage.syncd.connections.count
                if case .value(let value, _) = try await stage.client.ask(.load, "k") {
                    throw BrokenRule("the database failed, and it answered \(value)")
                }
                try await stage.until("an ABANDON with the lease, or the connection closed") {
                    stage.syncd.abandons(lease.id) > 0 || stage.syncd.connections.count < before
                }
                try stage.expect(stage.syncd.fills("k").isEmpty, "it filled something though it could not load")
            },
            ClientRule("other-tags", "A lease belongs to its key: many at once do not get mixed up.") { stage in
                for number in 0..<20 { stage.database.set("k\(number)", number) }
                try await withThrowingTaskGroup { group in
                    for number in 0..<20 {
                        group.addTask {
                            try stage.expect(try await stage.read("k\(number)"), "\(number)", "one of 20 reads at once")
                        }
                    }
                    try await group.waitForAll()
                }
            },
        ]

    private static let refusedFills = [
        (ErrorCode.stale, "something was invalidated while it loaded"), (.noLease, "the lease is over"),
        (.isolated, "this host is cut off"),
    ].map { code, why in
        ClientRule(
            "fill-\(code.rawValue.lowercased())", "-\(code.rawValue) in answer to FILL: \(why). The value is not kept."
        ) { stage in
            stage.syncd.script { request in
                if case .fill = request { .reply(.error(ReplyError(code, "refused"))) } else { nil }
            }
            stage.database.set("k", 7)
            try stage.expect(try await stage.read("k"), "7", "its own load began after it was asked")
            stage.database.set("k", 8)
            try stage.expect(try await stage.read("k"), "8", "a value was kept though its FILL was refused")
        }
    }
}
