import IPC
import NIOCore
import TestSupport
import Testing

@testable import apiworker

/// The change stream of a real MongoDB.
@Suite(.tags(.servers), .processes) struct UserChangesTests {
    private func changes(_ url: String) throws -> UserChanges {
        UserChanges(streams: ChangeStreams(pool: try MongoClientPool(try MongoURI(url))))
    }

    private func failure(of changes: UserChanges, after token: ByteBuffer?) async -> ChangeSourceFailure? {
        do throws(ChangeSourceFailure) {
            _ = try await changes.open(after: token)
            return nil
        } catch {
            return error
        }
    }

    /// The keys of the changes until `count` have come.
    private func keys(_ count: Int, of cursor: ChangeCursor) async throws -> (keys: [String?], last: ChangeBatch) {
        var keys: [String?] = []
        let deadline = PatientClock.now + .seconds(30)
        while true {
            let batch = try await cursor.next()
            keys += batch.changes.map(\.key)
            if keys.count >= count || batch.isEnd { return (keys, batch) }
            guard PatientClock.now < deadline else { throw TestFailure("only \(keys) have come") }
        }
    }

    @Test(arguments: [
        ("app", "app.users"), ("my_app-1", "my_app-1.users"), ("a+b", "a.2bb.users"), ("dé", "d.c3.a9.users"),
        (String(repeating: "+", count: 63), String(repeating: ".2b", count: 63) + ".users"),
    ]) func `the feed has the name of the database`(database: String, name: String) throws {
        let path = database.utf8.map { "%" + String($0, radix: 16) }.joined()
        #expect(try changes("mongodb://127.0.0.1:1/\(path)").name == name)
    }

    @Test func `changes come with the times of their writes`() async throws {
        let mongo = try await MongoServer.shared()
        let url = mongo.url(database: MongoServer.newDatabaseName())
        let place = try StorePlace(url: url)
        let (cursor, first) = try await changes(url).open(after: nil)
        #expect(first.readableBytes > 0)
        var times: [MongoTime?] = []
        func timed(_ body: (WriteTime) async throws -> Void) async throws {
            let time = WriteTime()
            try await body(time)
            times.append(time.value)
        }
        try await timed { try await place.store.insert(.named("a", id: "a"), time: $0) }
        try await timed { try await place.store.insert(.named("b", id: "b"), time: $0) }
        try await timed { _ = try await place.store.update("a", UserChange(age: 9), time: $0) }
        try await timed { _ = try await place.store.change(.link, between: "a", and: "b", time: $0) }
        try await timed { _ = try await place.store.change(.unlink, between: "a", and: "b", time: $0) }
        try await timed { _ = try await place.store.delete("b", time: $0) }
        var found: [DocumentChange] = []
        while found.count < 8 { found += try await cursor.next().changes }
        #expect(found.map(\.key) == ["a", "b", "a", "a", "b", "a", "b", "b"])
        let expected = [0, 1, 2, 3, 3, 4, 4, 5].map { times[$0].map(OperationTime.init) }
        #expect(found.map { $0.time } == expected, "each change has the time that its write's reply had")
        await cursor.close()
    }

    @Test func `it continues behind a token, also one of a quiet time`() async throws {
        let mongo = try await MongoServer.shared()
        let url = mongo.url(database: MongoServer.newDatabaseName())
        let place = try StorePlace(url: url)
        let (first, start) = try await changes(url).open(after: nil)
        let quiet = try await first.next().token
        await first.close()
        try await place.store.insert(.named("a", id: "a"))
        for token in [start, quiet] {
            let (cursor, _) = try await changes(url).open(after: token)
            let (keys, last) = try await keys(1, of: cursor)
            #expect(keys.first == "a")
            await cursor.close()
            try await place.store.insert(.named("c", id: "c"))
            let (next, _) = try await changes(url).open(after: last.token)
            #expect(try await self.keys(1, of: next).keys == ["c"], "what was read does not come again")
            await next.close()
            _ = try await place.store.delete("c")
        }
    }

    @Test func `a token of another database, and one that is none, are lost history`() async throws {
        let mongo = try await MongoServer.shared()
        let url = mongo.url(database: MongoServer.newDatabaseName())
        var garbage = ByteBuffer()
        (["_data": "82"] as TestSupport.BSONDocument).encode(into: &garbage)
        let failure = await failure(of: try changes(url), after: garbage)
        guard case .historyLost = failure else {
            Issue.record("\(String(describing: failure))")
            return
        }
    }

    @Test func `a drop ends it`() async throws {
        let mongo = try await MongoServer.shared()
        let database = MongoServer.newDatabaseName()
        let place = try StorePlace(url: mongo.url(database: database))
        try await place.store.insert(.named("a", id: "a"))
        let (cursor, _) = try await changes(mongo.url(database: database)).open(after: nil)
        try await mongo.command(["drop": "users"], database: database)
        #expect(try await keys(.max, of: cursor).last.isEnd)
        await cursor.close()
    }

    @Test func `a primary that has stepped down is left, although it goes on answering`() async throws {
        let set = try await MongoReplicaSet(delay: 1, isHidden: true)
        let primary = try await set.primary()
        let (cursor, _) = try await changes(primary.url(database: MongoServer.newDatabaseName())).open(after: nil)
        _ = try await cursor.next()
        _ = try? await primary.command(["replSetStepDown": 60, "force": true])
        let failure = await #expect(throws: ChangeSourceFailure.self) {
            let deadline = PatientClock.now + .seconds(30)
            while PatientClock.now < deadline { _ = try await cursor.next() }
        }
        guard case .interrupted = failure else { throw TestFailure("\(String(describing: failure))") }
        await cursor.close()
    }

    @Test func `a standalone server has none`() async throws {
        let mongo = try await MongoServer.shared(.standalone)
        let failure = await failure(of: try changes(mongo.url(database: "test")), after: nil)
        #expect(failure == .unavailable("only a replica set has change streams"))
    }

    @Test func `a closed cursor gives its connection back`() async throws {
        let mongo = try await MongoServer.shared()
        let url = mongo.url(database: MongoServer.newDatabaseName()) + "&maxPoolSize=1&waitQueueTimeoutMS=500"
        let changes = try changes(url)
        // There are three connections.
        for _ in 0..<10 {
            let (cursor, _) = try await changes.open(after: nil)
            await cursor.close()
        }
    }
}
