import Foundation
import TestSupport
import Testing

/// docs/http-api.md: what holds for every path and every answer.
@Suite(.tags(.servers), .processes) struct HTTPContractTests {
    private static let origin = ("Origin", "https://a.example")

    /// Every path that GET is for, but the stream, which has no end.
    private static func paths(_ id: String) -> [String] {
        [
            "/", "/api/status", "/metrics", "/openapi.json", "/api/users", "/api/users/paginated/list",
            "/api/users/stats/overview",
            "/api/users/\(id)", "/api/graph",
        ]
    }

    @Test func `every response says which worker gave it, and serves pages of the origin`() async throws {
        let mongo = try await MongoServer()
        let host = try await TestHost.start(
            workers: 1, home: .embedded, mongo: mongo, environment: ["FRONTEND_ORIGIN_URL": "https://a.example"])
        let http = try host.connect()
        let a = try await TestHost.createUser(http, "a"), b = try await TestHost.createUser(http, "b")
        let user = #"{"username":"c","age":1,"hobbies":[]}"#
        let cases: [(method: String, path: String, body: String?, header: (String, String)?, status: Int)] = [
            ("GET", "/", nil, nil, 200), ("GET", "/api/users", nil, ("If-None-Match", "*"), 304),
            ("HEAD", "/api/users", nil, nil, 200), ("OPTIONS", "/api/users", nil, nil, 204),
            ("POST", "/api/users", user, nil, 201), ("PUT", "/api/users/\(a)", "{}", nil, 200),
            ("POST", "/api/users/\(a)/link", #"{"friendId":"\#(b)"}"#, nil, 200),
            ("DELETE", "/api/users/\(a)", nil, nil, 409),
            ("DELETE", "/api/users/\(a)/unlink", #"{"friendId":"\#(b)"}"#, nil, 200),
            ("DELETE", "/api/users/\(b)", nil, nil, 200), ("GET", "/api/users/\(b)", nil, nil, 404),
            ("GET", "/nothing", nil, nil, 404), ("PATCH", "/api/users", nil, nil, 405),
            ("POST", "/api/users", "{}", nil, 400), ("POST", "/api/users", "{", nil, 400),
            ("POST", "/api/users", user, ("Content-Type", "text/plain"), 415),
            ("POST", "/api/users", user, ("Content-Encoding", "gzip"), 415),
        ]
        func check(_ reply: HTTPReply, _ status: Int, _ what: String) {
            #expect(reply.status == status, "\(what): \(reply.text)")
            #expect(reply.worker == host.workers[0].pid, "\(what)")
            if status >= 400 {
                #expect(reply["content-type"] == "application/json; charset=utf-8", "\(what)")
                #expect(reply.json["message"].string?.isEmpty == false, "\(what)")
            }
        }
        func checkOrigin(_ reply: HTTPReply, _ what: String) {
            #expect(reply["access-control-allow-origin"] == "https://a.example", "\(what)")
            #expect(reply["access-control-expose-headers"] == "ETag, X-Cache, X-Sync-Position, X-Worker", "\(what)")
            #expect(reply["vary"] == "Origin" && reply["access-control-allow-credentials"] == nil, "\(what)")
        }
        for request in cases {
            let what = "\(request.method) \(request.path) \(request.body ?? "")"
            let reply = try await http.request(
                request.method, request.path, body: request.body,
                headers: [Self.origin] + (request.header.map { [$0] } ?? []))
            check(reply, request.status, what)
            checkOrigin(reply, what)
        }
        let large = try await host.connect().request(
            "POST", "/api/users", body: String(repeating: " ", count: 1 << 20 | 1), headers: [Self.origin])
        check(large, 413, "a large body")
        checkOrigin(large, "a large body")
        // A malformed request has no origin.
        for (text, status) in [
            ("NO HTTP\r\n\r\n", 400), ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: \(String(repeating: "x", count: 17 << 10))\r\n\r\n", 431),
        ] {
            let bad = try host.connect()
            try await bad.send(text)
            check(try await bad.reply(), status, "\(text.prefix(20))")
            #expect(try await bad.closes())
        }
        mongo.kill()
        let unavailable = try await http.request("GET", "/api/users/paginated/list", headers: [Self.origin])
        check(unavailable, 503, "no database")
        checkOrigin(unavailable, "no database")
        #expect(unavailable["retry-after"] == "1")
    }

    @Test func `HEAD and OPTIONS wherever GET is`() async throws {
        let host = try await TestHost.start(workers: 1, home: .embedded)
        let http = try host.connect()
        let id = try await TestHost.createUser(http, "a")
        for path in Self.paths(id) {
            // Afterwards its answer comes from the same place.
            _ = try await (path == "/metrics" ? host.connect() : http).get(path)
            let get = try await (path == "/metrics" ? host.connect() : http).get(path)
            let head = try await (path == "/metrics" ? host.connect() : http).request("HEAD", path)
            #expect(head.status == 200 && head.body.readableBytes == 0, "\(path)")
            #expect(head.headers.map(\.name) == get.headers.map(\.name), "\(path)")
            if !["/api/status", "/metrics"].contains(path) {
                func values(_ reply: HTTPReply) -> [String] {
                    reply.headers.filter { $0.name != "date" }.map { "\($0.name): \($0.value)" }
                }
                #expect(values(head) == values(get), "\(path)")
            }
            #expect(Int(head["content-length"] ?? "") ?? 0 > 0)
            let options = try await http.request("OPTIONS", path)
            #expect(options.status == 204 && options["allow"]?.hasPrefix("GET, ") == true, "\(path)")
            #expect(options["allow"]?.contains("HEAD") == true && options["allow"]?.hasSuffix("OPTIONS") == true)
            #expect(options["content-length"] == nil && options["transfer-encoding"] == nil, "\(path)")
            #expect(options["access-control-allow-origin"] == nil && options["vary"] == nil, "no origin is configured")
        }
        let missing = "/api/users/\(UUID().uuidString.lowercased())"
        #expect(try await http.request("HEAD", missing).status == 404)
        for path in ["link", "unlink"] {
            #expect(try await http.request("HEAD", "/api/users/\(id)/\(path)").status == 405, "\(path)")
        }
        #expect(try await http.get("/").status == 200, "nothing is left over on this connection")
    }

    @Test func `preflights`() async throws {
        let host = try await TestHost.start(
            workers: 1, home: nil, environment: ["FRONTEND_ORIGIN_URL": "https://a.example"])
        let http = try host.connect()
        for (path, methods) in [
            ("/", "GET, HEAD, OPTIONS"), ("/api/users", "GET, POST, HEAD, OPTIONS"),
            ("/api/users/x", "GET, PUT, DELETE, HEAD, OPTIONS"), ("/api/users/x/link", "POST, OPTIONS"),
            ("/api/users/x/unlink", "DELETE, OPTIONS"), ("/api/events", "GET, HEAD, OPTIONS"),
        ] {
            let asked = [
                ("Access-Control-Request-Method", "PUT"), ("Access-Control-Request-Headers", "content-type,x-a"),
            ]
            let reply = try await http.request("OPTIONS", path, headers: [Self.origin] + asked)
            #expect(reply.status == 204 && reply["allow"] == methods, "\(path)")
            #expect(reply["access-control-allow-origin"] == "https://a.example")
            #expect(reply["access-control-allow-methods"] == methods)
            #expect(reply["access-control-allow-headers"] == "content-type,x-a")
            #expect(reply["access-control-max-age"] == "600")
            let vary = reply.headers.filter { $0.name == "vary" }.map(\.value).joined(separator: ", ")
            #expect(Set(vary.components(separatedBy: ", ")) == ["Origin", "Access-Control-Request-Headers"])
            let foreign = try await http.request("OPTIONS", path, headers: [("Origin", "https://b.example")] + asked)
            #expect(foreign.status == 204 && foreign["vary"] == "Origin")
            #expect(!foreign.headers.contains { $0.name.hasPrefix("access-control") }, "\(path)")
        }
    }

    // MARK: Contents of responses

    @Test func `health follows Redis and syncd`() async throws {
        let host = try await TestHost.start(workers: 1, home: .redis)
        let http = try host.connect()
        func waitFor(_ redis: String, _ sync: String) async throws {
            try await eventually("\(redis), \(sync)", within: .seconds(20), details: { host.transcript }) {
                let health = try await http.get("/")
                return health.status == 200 && health.json["redis"].string == redis
                    && health.json["sync"].string == sync
            }
        }
        try await waitFor("connected", "attached")
        let status = try await http.get("/api/status").json
        #expect(status["redis"].bool == true && status["applied"].number ?? -1 >= 0)
        #expect(status["uptime"].number.map { $0 >= 0 && $0 < 300 && $0 == $0.rounded() } == true)
        host.redis?.kill()
        try await waitFor("unavailable", "isolated")
        #expect(try await http.get("/api/status").json["redis"].bool == false)
        host.syncd?.kill()
        try await waitFor("unavailable", "detached")
        try await host.redis?.start()
        try await host.syncd?.start()
        try await waitFor("connected", "attached")
    }

    @Test func `pages by default and within bounds`() async throws {
        let host = try await TestHost.start(workers: 1, home: nil)
        let http = try host.connect()
        for (query, page, limit) in [
            ("", 1.0, nil), ("?page=0&limit=0", 1, 1), ("?page=-5&limit=1001", 1, 1000), ("?page=x&limit=y", 1, nil),
            ("?page=2&limit=1000", 2, 1000), ("?page=1e3&limit=10.5", 1, nil), ("?page=&limit=", 1, nil),
            ("?page=3&page=4&limit=%31%30", 3, 10), ("?limit=99999999999999999999", 1, 1000),
            ("?page=1000000001", 1_000_000_000, nil), ("?page=+2&limit=%2B2", 1, nil),
        ] as [(String, Double, Double?)] {
            for (path, usual) in [("/api/users/paginated/list", 50.0), ("/api/graph", 100)] {
                let json = try await http.get(path + query).json["pagination"]
                #expect(json.names == ["hasMore", "limit", "page", "total", "totalPages"], "\(path)\(query)")
                #expect(
                    json["page"].number == page && json["limit"].number == limit ?? usual, "\(path)\(query): \(json)")
            }
        }
    }

    @Test func `only false is false`() async throws {
        let host = try await TestHost.start(workers: 1, home: nil)
        let http = try host.connect()
        let a = try await TestHost.createUser(http, "a"), b = try await TestHost.createUser(http, "b")
        _ = try await http.request("POST", "/api/users/\(a)/link", body: #"{"friendId":"\#(b)"}"#)
        for (text, edges) in [
            ("false", 0), ("%66alse", 0), ("true", 1), ("FALSE", 1), ("0", 1), ("", 1), ("no", 1), ("false%20", 1),
        ] {
            let graph = try await http.get("/api/graph?includeConnections=\(text)").json
            #expect(graph["edges"].array?.count == edges, "\(text)")
        }
    }

    // MARK: Caching and events

    @Test(arguments: Home.allCases) func `what is cached is the body, under its key`(home: Home) async throws {
        let host = try await TestHost.start(workers: 1, home: home)
        let http = try host.connect()
        let id = try await TestHost.createUser(http, "é 😀")
        let syncd = try await #require(host.syncd).connect()
        for (path, key, tag, seconds) in [
            ("/api/users", "users:all", "users", 300), ("/api/users/stats/overview", "stats:overview", "users", 300),
            ("/api/users/\(id)", "user:\(id)", "user:\(id)", 300), ("/api/graph", "graph:1:100:true", "users", 120),
            ("/api/graph?page=2&limit=7&includeConnections=false", "graph:2:7:false", "users", 120),
        ] as [(String, String, String, UInt64)] {
            var (reply, hit) = (try await http.get(path), try await syncd.present(key))
            // A request that waits too long for a processor is answered without storing anything, or without asking
            // syncd.
            for _ in 0..<5 where hit == nil {
                let again = try await http.get(path)
                if again.cache == "MISS" { reply = again }
                hit = try await syncd.present(key)
            }
            let stored = try #require(hit, "\(path)")
            #expect(reply.status == 200 && reply.cache == "MISS", "\(path)")
            #expect(stored.value == reply.body, "\(path)")
            #expect(stored.tags.map { String(buffer: $0) } == [tag], "\(path)")
            #expect(((seconds - 60) * 1000...seconds * 1000).contains(stored.ttlMilliseconds), "\(path)")
        }
        #expect(try await http.get("/api/users/paginated/list").cache == nil)
    }

    @Test func `every write makes itself known, and what changes nothing does not`() async throws {
        let host = try await TestHost.start(workers: 1, home: .embedded)
        let http = try host.connect()
        let page = try await EventSource(port: host.port.number)
        #expect(try await page.next().name == "sync")
        func expect(_ channel: String, _ user: String, _ friend: String? = nil) async throws {
            let tags = ["users", "user:\(user)"] + (friend.map { ["user:\($0)"] } ?? [])
            let change = try await page.change()
            #expect(change.channel == channel && change.tags.isSuperset(of: tags), "\(change)")
            #expect(change.data["userId"].string == user && change.data["friendId"].string == friend, "\(change)")
            #expect(change.data.names == (friend == nil ? [] : ["friendId"]) + ["timestamp", "userId"])
        }
        func send(_ method: String, _ path: String, _ body: String? = nil, _ status: Int = 200) async throws {
            let reply = try await http.request(method, path, body: body)
            #expect(reply.status == status, "\(method) \(path): \(reply.text)")
        }
        let a = try await TestHost.createUser(http, "a")
        try await expect("user:created", a)
        let b = try await TestHost.createUser(http, "b")
        try await expect("user:created", b)
        // Between two of these lines nothing else is heard.
        try await send("PUT", "/api/users/\(a)", #"{"age":30,"username":"a"}"#)
        try await send("PUT", "/api/users/\(a)", "{}")
        try await send("PUT", "/api/users/\(a)", #"{"age":31}"#)
        try await expect("user:updated", a)
        try await send("DELETE", "/api/users/\(a)/unlink", #"{"friendId":"\#(b)"}"#)
        try await send("POST", "/api/users/\(a)/link", #"{"friendId":"\#(b)"}"#)
        try await expect("users:linked", a, b)
        try await send("POST", "/api/users/\(b)/link", #"{"friendId":"\#(a)"}"#)
        try await send("DELETE", "/api/users/\(a)", nil, 409)
        try await send("DELETE", "/api/users/\(b)/unlink", #"{"friendId":"\#(a)"}"#)
        try await expect("users:unlinked", b, a)
        try await send("POST", "/api/users", "{}", 400)
        try await send("DELETE", "/api/users/\(a)")
        try await expect("user:deleted", a)
        try await send("DELETE", "/api/users/\(a)", nil, 404)
        try await send("DELETE", "/api/users/\(b)")
        try await expect("user:deleted", b)
    }

    // MARK: The process

    @Test func `the index of lists is made at the start`() async throws {
        let host = try await TestHost.start(workers: 2, home: nil)
        await eventually("it is there", details: { host.transcript }) {
            let answer = try? await host.mongo.command(["listIndexes": "users"], database: host.database)
            let indexes = answer?["cursor"]?.document?["firstBatch"]?.array?.compactMap(\.document) ?? []
            return indexes.contains { $0["key"]?.document == ["createdAt": 1, "_id": 1] }
        }
    }

    @Test func `settings that can't be used end it with 78 and name the key`() async throws {
        let worker = try Executables.built("apiworker")
        for (arguments, environment, key) in [
            ([], [:], "DB_URL"), (["--db-url", ""], [:], "DB_URL"), ([], ["DB_URL": "http://h"], "DB_URL"),
            ([], ["DB_URL": "mongodb://user:secret@h/?nonsense=%"], "DB_URL"),
            ([], ["DB_URL": "mongodb://h", "PORT": "x"], "PORT"),
            (["--port", "65536"], ["DB_URL": "mongodb://h"], "PORT"),
            ([], ["DB_URL": "mongodb://h", "FRONTEND_ORIGIN_URL": "*"], "FRONTEND_ORIGIN_URL"),
            ([], ["DB_URL": "mongodb://h", "LOG_LEVEL": "loud"], "LOG_LEVEL"),
        ] as [([String], [String: String], String)] {
            let finished = try await ChildProcess.run(worker, arguments, environment: environment)
            #expect(finished.exit == .status(78), "\(finished)")
            #expect(finished.errors.contains(key) && !finished.errors.contains("secret"), "\(finished.errors)")
        }
    }

    @Test func `command line heartbeats environment heartbeats files`() async throws {
        let folder = try TemporaryDirectory()
        func origin(_ name: String) -> String { "FRONTEND_ORIGIN_URL=https://\(name).example\n" }
        let config = try folder.write(origin("config"), to: "config")
        try folder.write("DB_URL=mongodb://127.0.0.1:9/x\nPORT=0\nSYNCD_SOCKET=\n" + origin("dotenv"), to: ".env")
        for (name, arguments, environment) in [
            ("line", ["--frontend-origin-url", "https://line.example", "--config", config], true),
            ("environment", ["--config", config], true), ("config", ["--config", config], false),
            ("dotenv", [], false),
        ] {
            let worker = try ChildProcess(
                try Executables.built("apiworker"), arguments,
                environment: environment ? ["FRONTEND_ORIGIN_URL": "https://environment.example"] : [:],
                workingDirectory: folder.path)
            var port: Int?
            await eventually("it listens", within: .seconds(20), details: { worker.transcript }) {
                let log = worker.output + worker.errors
                port = log.firstMatch(of: /Worker \d+ started on port (\d+)/).flatMap { Int($0.1) }
                return port != nil
            }
            let http = try HTTPConnection(port: try #require(port))
            let reply = try await http.request("GET", "/", headers: [("Origin", "https://\(name).example")])
            #expect(reply["access-control-allow-origin"] == "https://\(name).example")
        }
    }
}
