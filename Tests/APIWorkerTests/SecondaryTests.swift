import TestSupport
import Testing

@testable import apiworker

/// The servers that answer reads: real replica sets, one of whose members lags behind by seconds.
@Suite(.tags(.servers), .processes) struct SecondaryTests {
    /// All that a store reads.
    private static func reads(_ store: UserStore) -> [(String, () async throws(StorageFailure) -> Void)] {
        let page = PageRequest(page: 1, limit: 10)
        return [
            ("user", { () throws(StorageFailure) in _ = try await store.user("a") }),
            ("users", { () throws(StorageFailure) in _ = try await store.users() }),
            ("statistics", { () throws(StorageFailure) in _ = try await store.statistics() }),
            ("list", { () throws(StorageFailure) in _ = try await store.list(page) }),
            ("search", { () throws(StorageFailure) in _ = try await store.list(page, search: "x") }),
            (
                "graph",
                { () throws(StorageFailure) in _ = try await store.graph(page, includesConnections: true) }
            ),
            ("probe", { () throws(StorageFailure) in try await store.probe() }),
        ]
    }

    @Test func `a secondary never answers, and the log says what to do`() async throws {
        let members = try await MongoServer.members(3, delays: [2: 3600])
        let database = MongoServer.newDatabaseName()
        let whole = try StorePlace(url: members[0].url(database: database))
        try await whole.store.insert(.named("a"))
        #expect(try await StorePlace(url: members[0].directURL(database: database)).store.user("a") != nil)
        for (member, kind) in [(1, "a secondary"), (2, "a member that is not the primary")] {
            for suffix in ["", "?directConnection=true"] {
                for index in 0..<7 {
                    // Each read is the first of its store: later ones are refused because of it.
                    let one = try StorePlace(url: members[member].directURL(database: database) + suffix)
                    let (name, read) = Self.reads(one.store)[index]
                    let failure = await StorePlace.failure(of: read)
                    #expect(failure?.evidence == .unusable, "\(name): \(failure.debugDescription)")
                    let line = try #require(one.log.lines.first)
                    #expect(one.log.lines.count == 1)
                    #expect(
                        line.hasPrefix("MongoDB can't be used detail=DB_URL names \(kind)")
                            && line.contains("of replica set rs0: add replicaSet=rs0, without directConnection"),
                        "\(line)")
                    #expect(
                        await StorePlace.failure { () throws(StorageFailure) in
                            try await one.store.insert(.named("b"))
                        }?.isOutcomeUnknown == false)
                }
            }
            let direct = members[member].url(database: database)
            #expect(
                try await StorePlace(url: direct).store.user("a") != nil, "with the set's name the primary is found")
        }
    }

    @Test func `who is no primary any more when the read arrives refuses it`() async throws {
        let members = try await MongoServer.members(2)
        let database = MongoServer.newDatabaseName()
        let proxy = try await TCPProxy(to: members[0].portNumber, mark: "maxAwaitTimeMS")
        let place = try StorePlace(url: "mongodb://127.0.0.1:\(proxy.portNumber)/\(database)")
        try await place.store.insert(.named("a"))
        try await place.store.probe()
        // The driver does not hear that the primary has changed.
        proxy.holdMarked()
        try await members[0].command(["replSetStepDown": 60, "secondaryCatchUpPeriodSecs": 30, "force": true])
        try await members[0].wait(until: "SECONDARY") { $0["myState"]?.number == 2 }
        let failure = await StorePlace.failure { () throws(StorageFailure) in
            try await place.store.operations.run { client throws(StorageFailure) in
                #expect(try client.target().kind == .replicated, "it is still believed to be the primary")
                _ = try client.user("a")
            }
        }
        #expect(failure?.kind == .unavailable)
        try await proxy.resume()
    }

    @Test func `a link that was found but may be rolled back is not acknowledged`() async throws {
        let members = try await MongoServer.members(2)
        let place = try StorePlace(url: members[0].url(database: MongoServer.newDatabaseName()))
        try await place.store.insert(.named("a"))
        try await place.store.insert(.named("b"))
        let link = { () async throws(StorageFailure) -> Void in
            _ = try await place.store.change(.link, between: "a", and: "b")
        }
        // The primary is alone: it takes the write and shows it, until it steps down.
        members[1].pause()
        for attempt in ["made", "found"] {
            let failure = await StorePlace.failure(of: link)
            #expect(failure != nil, "acknowledged when \(attempt)")
        }
        members[1].resume()
        try await members[0].wait(until: "PRIMARY", within: .seconds(60)) { $0["myState"]?.number == 1 }
        await eventually("the link is acknowledged", within: .seconds(60)) {
            await StorePlace.failure(of: link) == nil
        }
    }
}
