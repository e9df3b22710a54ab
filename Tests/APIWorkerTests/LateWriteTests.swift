import TestSupport
import Testing

@testable import apiworker

/// Writes that the network or the server delays until nobody waits any more (docs/consistency.md, "Writes that land
/// late"). Real servers, and a real network in between that delivers what it held back.
@Suite(.tags(.servers), .processes) struct LateWriteTests {
    /// A write that is late.
    enum Write: CaseIterable {
        case insert
        case update
        case delete

        func run(_ store: UserStore) async throws(StorageFailure) {
            switch self {
            case .insert: try await store.insert(.named("new", id: "new"))
            case .update: _ = try await store.update("a", UserChange(age: 99))
            case .delete: _ = try await store.delete("a")
            }
        }
    }

    /// A server with the users a and b, and a store that reaches it through a proxy.
    private struct Stage {
        let server: MongoServer
        let database = MongoServer.newDatabaseName()
        let near: UserStore
        let far: UserStore
        let proxy: TCPProxy

        init(_ kind: MongoServer.Kind, _ own: MongoServer? = nil) async throws {
            if let own { server = own } else { server = try await MongoServer.shared(kind) }
            proxy = try await TCPProxy(to: server.portNumber)
            near = try StorePlace(url: server.directURL(database: database)).store
            far = try StorePlace(url: "mongodb://127.0.0.1:\(proxy.portNumber)/\(database)").store
            for name in ["a", "b"] { try await near.insert(.named(name)) }
            // The connection that the write will use is there.
            #expect(try await far.user("a") != nil)
        }

        func users() async throws -> [User] {
            try await near.operations.run { client throws(StorageFailure) in
                var users: [User] = []
                try client.find([:]) { user throws(StorageFailure) in users.append(User(user)) }
                return users
            }
        }
    }

    @Test(arguments: MongoServer.Kind.allCases, Write.allCases)
    func `what the network delivers late changes nothing, and its end is known`(
        kind: MongoServer.Kind, write: Write
    ) async throws {
        let stage = try await Stage(kind)
        let before = try await stage.users()
        stage.proxy.stall()
        let failure = try #require(
            await StorePlace.failure { () throws(StorageFailure) in try await write.run(stage.far) })
        #expect(failure.kind == .unavailable && failure.isOutcomeUnknown)
        let settlement = try #require(failure.settlement)
        // Well after the deadline; the second half of the writes is delivered when the driver has given up its socket.
        try await Task.sleep(for: write == .update ? .seconds(5) : .seconds(2))
        #expect(!settlement.isFinished, "the server was not heard of")
        #expect(try await stage.proxy.heldByteCount() > 0)
        try await stage.proxy.resume()
        await settlement.wait()
        #expect(try await stage.users() == before)
        try await stage.server.drop(database: stage.database)
    }

    @Test(arguments: MongoServer.Kind.allCases)
    func `what stood in the socket of a stopped server is over before its end is known`(
        kind: MongoServer.Kind
    ) async throws {
        let stage = try await Stage(kind, MongoServer(kind))
        // A thread and a connection for each.
        async let more: [User?] = [stage.far.user("a"), stage.far.user("b"), stage.far.user("a")]
        _ = try await more
        stage.server.pause()
        let failures = await withTaskGroup(of: StorageFailure?.self) { group in
            for write in Write.allCases {
                group.addTask {
                    await StorePlace.failure { () throws(StorageFailure) in try await write.run(stage.far) }
                }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(failures.allSatisfy { $0?.kind == .unavailable })
        try await Task.sleep(for: .seconds(4))
        let settlements = failures.compactMap { $0?.settlement }
        #expect(!settlements.isEmpty && settlements.allSatisfy { !$0.isFinished })
        stage.server.resume()
        // mongod's `$$NOW` is some milliseconds old: on a busy machine, a write may still meet the time before the stop.
        try await Task.sleep(for: .milliseconds(500))
        let after = try await stage.users()
        for settlement in settlements { await settlement.wait() }
        #expect(try await stage.users() == after)
    }

    @Test(arguments: [-5, 7]) func `only the server's own clock counts`(hours: Int) async throws {
        let server = try await MongoServer(
            .standalone,
            environment: [
                "LD_PRELOAD": "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
                "FAKETIME": "\(hours > 0 ? "+" : "")\(hours)h",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            ])
        let stage = try await Stage(.standalone, server)
        guard case .changed = try await stage.far.update("a", UserChange(age: 31)) else {
            throw TestFailure("not changed")
        }
        #expect(try await stage.far.change(.link, between: "a", and: "b") == .changed)
        #expect(try await stage.far.change(.unlink, between: "a", and: "b") == .changed)
        try await stage.far.insert(.named("c"))
        #expect(try await stage.far.delete("c") == .deleted)
        let before = try await stage.users()
        stage.proxy.stall()
        let failure = await StorePlace.failure { () throws(StorageFailure) in try await Write.update.run(stage.far) }
        #expect(failure?.isOutcomeUnknown == true)
        try await Task.sleep(for: .seconds(1))
        try await stage.proxy.resume()
        await failure?.settlement?.wait()
        #expect(try await stage.users() == before)
    }

    // MARK: Links

    @Test func `a commit that nobody answers is repeated until it is known what became of it`() async throws {
        let stage = try await Stage(.replicaSet)
        stage.proxy.stall(at: "commitTransaction")
        let failure = await StorePlace.failure { () throws(StorageFailure) in
            _ = try await stage.far.change(.link, between: "a", and: "b")
        }
        #expect(failure?.kind == .unavailable && failure?.isOutcomeUnknown == true)
        #expect(stage.proxy.isStalled)
        let settlement = try #require(failure?.settlement)
        // Longer than the driver waits for one answer: the first commit's connection is closed, the commit on its way.
        try await Task.sleep(for: .seconds(6))
        #expect(!settlement.isFinished)
        try await stage.proxy.resume()
        await settlement.wait()
        let friends = try await stage.users().map(\.friends)
        #expect(friends == [["b"], ["a"]], "the transaction was still open")
        try await stage.server.drop(database: stage.database)
    }

    /// After 13 s the driver has given up two connections, and undoing the first half has failed at least once.
    @Test(arguments: [(1, 2), (2, 2), (2, 13)])
    func `without transactions neither half of a link lands late`(half: Int, seconds: Int) async throws {
        let stage = try await Stage(.standalone)
        // Undoing the first half has the same operator.
        stage.proxy.stall(at: "$addToSet", time: half)
        let failure = await StorePlace.failure { () throws(StorageFailure) in
            _ = try await stage.far.change(.link, between: "a", and: "b")
        }
        #expect(failure?.kind == .unavailable && failure?.isOutcomeUnknown == true)
        let settlement = try #require(failure?.settlement)
        try await Task.sleep(for: .seconds(seconds))
        #expect(!settlement.isFinished)
        try await stage.proxy.resume()
        await settlement.wait()
        let friends = try await stage.users().map(\.friends)
        #expect(friends == [[], []])
        try await stage.server.drop(database: stage.database)
    }

    @Test func `many commits without an answer leave threads for others`() async throws {
        let stage = try await Stage(.replicaSet)
        let names = (0..<12).flatMap { ["l\($0)", "r\($0)"] }
        for name in names { try await stage.near.insert(.named(name)) }
        let proxy = stage.proxy
        proxy.stall(at: "commitTransaction")
        let settlements = await withTaskGroup(of: StorageFailure?.self) { group in
            for index in 0..<12 {
                group.addTask {
                    await StorePlace.failure { () throws(StorageFailure) in
                        _ = try await stage.far.change(.link, between: "l\(index)", and: "r\(index)")
                    }
                }
            }
            return await group.reduce(into: []) { if let settlement = $1?.settlement { $0.append(settlement) } }
        }
        #expect(!settlements.isEmpty)
        // The driver gives a socket up after 5 s: then only those that repeat hold a connection.
        await eventually("connections are free", details: { "\(stage.far.operations.connections)" }) {
            stage.far.operations.connections.inUse <= 5
        }
        try await proxy.resume()
        await eventually("reads are answered") {
            await StorePlace.failure { () throws(StorageFailure) in try await stage.far.probe() } == nil
        }
        // A transaction whose end did not reach the server holds its locks for a minute.
        try? await stage.server.drop(database: stage.database)
    }

    // MARK: Reasons why nothing matches

    /// How a write fails. On a busy machine the server may take longer than it has: that says nothing, so it is tried
    /// again.
    private static func certainFailure(
        _ body: () async throws(StorageFailure) -> Void
    ) async -> StorageFailure? {
        let maxTimeExpired = Int32(50)
        for _ in 0..<10 {
            let failure = await StorePlace.failure(of: body)
            if failure?.isOutcomeUnknown != true, failure?.serverCode != maxTimeExpired { return failure }
        }
        return await StorePlace.failure(of: body)
    }

    @Test func `a write that is late is not taken for one that found nothing`() async throws {
        let stage = try await Stage(.replicaSet)
        let late = StorageFailure.cameTooLate
        for (id, expected) in [("a", late), ("nobody", nil)] {
            for write in [Write.update, .delete] {
                let failure = await Self.certainFailure { () throws(StorageFailure) in
                    try await stage.near.operations.run { client throws(StorageFailure) in
                        let target = try client.beginWriting()
                        switch write {
                        case .insert: break
                        case .update:
                            let found = try client.findAndUpdate(
                                id, ["$set": .document(["age": .int32(99)])], at: target, within: -60_000)
                            #expect(found == nil)
                        case .delete: #expect(try client.deleteLonely(id, at: target, within: -60_000) == .notFound)
                        }
                    }
                }
                #expect(failure == expected, "\(write) of \(id)")
            }
        }
        let inserted = await Self.certainFailure { () throws(StorageFailure) in
            try await stage.near.operations.run { client throws(StorageFailure) in
                try client.insert(User.named("n").document, at: try client.beginWriting(), within: -60_000)
            }
        }
        #expect(inserted == late)
        #expect(try await stage.users().map(\.id) == ["a", "b"])
        try await stage.server.drop(database: stage.database)
    }

    @Test func `between two heartbeats the server's clock is known to go on`() async throws {
        let stage = try await Stage(.replicaSet)
        let start = MongoTarget.now
        let passed = try await stage.near.operations.run { client throws(StorageFailure) in
            let first = try client.target().time
            while try client.target().time < first + 300, MongoTarget.now < start + 1500 {}
            return MongoTarget.now - start
        }
        #expect(passed < 1500, "a heartbeat comes only every ten seconds")
        try await stage.server.drop(database: stage.database)
    }

    @Test func `a time of the server that is known too early is asked for again`() async throws {
        let stage = try await Stage(.replicaSet)
        try await stage.near.operations.run { client throws(StorageFailure) in
            let target = try client.beginWriting()
            let early = MongoTarget(target, time: target.time - 3_600_000)
            try client.insert(User.named("n").document, at: early)
            #expect(try client.findAndUpdate("n", ["$set": .document(["age": .int32(2)])], at: early) != nil)
            #expect(try client.updateOne("n", ["$set": .document(["age": .int32(3)])], at: early) == (1, 1))
            #expect(try client.deleteLonely("n", at: early) == .deleted)
        }
        try await stage.server.drop(database: stage.database)
    }
}
