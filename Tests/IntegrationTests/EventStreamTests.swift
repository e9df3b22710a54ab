import Foundation
import TestSupport
import Testing

/// docs/http-api.md, "Events for pages": real workers, syncd and Redis.
@Suite(.tags(.servers), .processes) struct EventStreamTests {
    private func open(_ host: TestHost, _ headers: [(String, String)] = []) async throws -> EventSource {
        try await EventSource(port: host.port.number, headers: headers)
    }

    @Test(arguments: Home.allCases) func `every page hears of every write`(home: Home) async throws {
        let host = try await TestHost.start(workers: 2, home: home)
        // Of one worker or of both, as the kernel likes.
        var pages: [EventSource] = []
        for _ in 0..<6 { pages.append(try await open(host)) }
        for page in pages {
            let sync = try await page.next()
            #expect(sync.name == "sync" && JSON(sync.data)["sync"].string == "attached")
            #expect(JSON(sync.data)["epoch"].number ?? 0 > 0)
        }
        let http = try host.connect()
        let a = try await TestHost.createUser(http, "a"), b = try await TestHost.createUser(http, "b")
        _ = try await http.request("POST", "/api/users/\(a)/link", body: #"{"friendId":"\#(b)"}"#)
        for page in pages {
            var position = 0.0
            for (channel, ids, tags) in [
                ("user:created", [a], ["users", "user:\(a)"]), ("user:created", [b], ["users", "user:\(b)"]),
                ("users:linked", [a, b], ["users", "user:\(a)", "user:\(b)"]),
            ] {
                let change = try await page.change()
                #expect(change.channel == channel && change.tags.isSuperset(of: tags), "\(change)")
                #expect(change.positions == change.positions.sorted() && change.positions.first ?? 0 > position)
                position = change.positions.last ?? position
                #expect(change.data["userId"].string == ids[0])
                #expect(change.data["friendId"].string == ids.dropFirst().first)
                #expect(change.data["timestamp"].number ?? 0 > 1e12)
            }
        }
    }

    @Test func `a worker gets invalidations while a page listens, and only then`() async throws {
        let host = try await TestHost.start(workers: 1, home: .embedded)
        let syncd = try #require(host.syncd)
        func isTracking() async throws -> Bool {
            let clients = try await syncd.status()["clients"]?.elements ?? []
            return clients.contains { $0["tracking"] == .boolean(true) }
        }
        try await eventually("nobody listens", details: { host.transcript }) { try await !isTracking() }
        var page: EventSource? = try await open(host)
        _ = try await page?.next("sync")
        try await eventually("a page listens") { try await isTracking() }
        page = nil
        try await eventually("it has left") { try await !isTracking() }
        let http = try host.connect()
        #expect(try await http.get("/").json["sync"].string == "attached")
    }

    @Test func `what other programs publish comes with all its lines`() async throws {
        let host = try await TestHost.start(workers: 1, home: .redis)
        let page = try await open(host)
        _ = try await page.next("sync")
        let redis = try #require(host.redis)
        await eventually("syncd listens", details: { host.transcript }) {
            (try? await redis.command("PUBSUB", "NUMSUB", "user:updated").elements?.last?.number) ?? 0 > 0
        }
        let payload = "{\"userId\":\n  \"x\"\r\n}"
        try await redis.command("PUBLISH", "user:updated", payload)
        #expect(try await page.next("user:updated").data == "{\"userId\":\n  \"x\"\n}")
        let tags = try await page.next("invalidate")
        #expect(Set(JSON(tags.data)["tags"].strings ?? []) == ["users", "user:x"])
    }

    @Test func `the page learns when syncd goes and comes`() async throws {
        let host = try await TestHost.start(workers: 1, home: .embedded)
        let page = try await open(host)
        #expect(JSON(try await page.next().data)["sync"].string == "attached")
        let syncd = try #require(host.syncd)
        syncd.kill()
        while JSON(try await page.next("sync").data)["sync"].string != "detached" {}
        let without = try await open(host)
        #expect(JSON(try await without.next().data)["sync"].string == "detached")
        try await syncd.start()
        for page in [page, without] {
            var last = try await page.next("sync", within: .seconds(20))
            while JSON(last.data)["sync"].string != "attached" {
                last = try await page.next("sync", within: .seconds(20))
            }
        }
        let id = try await TestHost.createUser(try host.connect(), "a")
        for page in [page, without] {
            #expect(JSON(try await page.next("user:created").data)["userId"].string == id)
        }
    }

    @Test func `a stream outlives the deadlines of requests, and says so every 15 s`() async throws {
        let host = try await TestHost.start(workers: 1, home: nil)
        let page = try await open(host)
        #expect(try await page.next() == EventSource.Event("sync", #"{"sync":"detached","epoch":0}"#))
        #expect(try await page.waitForComments(1, within: .seconds(20)))
        let first = ContinuousClock.now
        #expect(try await page.waitForComments(2, within: .seconds(20)))
        #expect(ContinuousClock.now - first > .seconds(10))
    }

    @Test func `headers, methods and the figures`() async throws {
        let host = try await TestHost.start(
            workers: 1, home: nil, environment: ["FRONTEND_ORIGIN_URL": "https://a.example"])
        let page = try await open(host, [("Origin", "https://a.example")])
        let head = await page.head
        #expect(head["access-control-allow-origin"] == "https://a.example" && head["vary"] == "Origin")
        #expect(head["cache-control"] == "no-store" && head.worker == host.workers[0].pid)
        let http = try host.connect()
        let bare = try await http.request("HEAD", "/api/events")
        #expect(bare.status == 200 && bare["content-type"] == "text/event-stream" && bare["content-length"] == nil)
        #expect(bare.worker == host.workers[0].pid)
        let other = try host.connect()
        let refused = try await other.request("POST", "/api/events", body: "{}")
        #expect(refused.status == 405 && refused["allow"] == "GET, HEAD, OPTIONS")
        let metrics = try PrometheusExposition(try await other.get("/metrics").text)
        let worker = ["worker": "\(host.workers[0].pid)"]
        #expect(metrics.value("apiworker_event_streams", worker) == 1)
        #expect(metrics.value("apiworker_event_streams_cut_total", worker) == 0)
    }

    @Test func `SIGTERM ends streams and with them the worker`() async throws {
        let host = try await TestHost.start(workers: 1, home: .embedded)
        let pages = [try await open(host), try await open(host)]
        for page in pages { _ = try await page.next() }
        let begin = PatientClock.now
        #expect(try await host.workers[0].stop() == .status(0))
        #expect(PatientClock.now - begin < .seconds(8), "long before 10 s are over")
        for page in pages {
            #expect(try await page.closes())
            #expect(await page.isFinished)
        }
    }
}
