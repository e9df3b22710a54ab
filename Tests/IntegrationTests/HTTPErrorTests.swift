import Foundation
import TestSupport
import Testing

/// Bad requests get a clear answer, and the worker lives on.
@Suite(.tags(.servers), .processes) struct HTTPErrorTests {
    @Test func `bodies that are refused`() async throws {
        let host = try await TestHost.start(workers: 1, home: nil)
        let http = try host.connect()
        let id = try await TestHost.createUser(http, "a")
        let long = String(repeating: "x", count: 101)
        let cases: [(String, String)] = [
            ("{}", "Validation Error"), (#"{"username":"a","age":"1","hobbies":[]}"#, "Validation Error"),
            (#"{"username":{"$ne":null},"age":1,"hobbies":[]}"#, "Validation Error"),
            (#"{"username":"\#(long)","age":1,"hobbies":[]}"#, "Validation Error"),
            (#"{"username":"a","age":151,"hobbies":[]}"#, "Validation Error"),
            (#"{"username":"a","age":0,"hobbies":[]}"#, "Validation Error"),
            (#"{"username":"a","age":1,"hobbies":"chess"}"#, "Validation Error"),
            (#"{"username":"a","age":1,"hobbies":[1]}"#, "Validation Error"),
            (#"{"username":" ","age":1,"hobbies":[]}"#, "Validation Error"), ("[]", "Validation Error"),
            (#"{"username":"a","age":1,}"#, "Malformed JSON"), ("{", "Malformed JSON"), ("", "Malformed JSON"),
            (#"{"username":"\u0000","age":1,"hobbies":[]}"#, "Malformed JSON"),
            (#"{"a":\#(String(repeating: "[", count: 40))\#(String(repeating: "]", count: 40))}"#, "Malformed JSON"),
            (#"{"username":"\ud800","age":1,"hobbies":[]}"#, "Malformed JSON"), ("nul", "Malformed JSON"),
        ]
        for (body, message) in cases {
            let reply = try await http.request("POST", "/api/users", body: body)
            #expect(reply.status == 400 && reply.json["message"].string == message, "\(body.prefix(60)): \(reply.text)")
            if message == "Validation Error", body != "[]" {
                let details = try #require(reply.json["details"].array)
                #expect(
                    !details.isEmpty && details.allSatisfy { $0["field"].string != nil && $0["rule"].string != nil })
            }
        }
        for body in [#"{"position":{"x":1}}"#, #"{"position":{"x":1e400,"y":0}}"#, #"{"age":-1}"#] {
            #expect(try await http.request("PUT", "/api/users/\(id)", body: body).status == 400, "\(body)")
        }
        let missing = "/api/users/\(UUID().uuidString.lowercased())"
        #expect(try await http.request("PUT", missing, body: #"{"age":-1}"#).status == 400, "the body comes first")
        #expect(try await http.request("PUT", missing, body: #"{"age":1}"#).status == 404)
        #expect(try await http.get("/api/users").json.array?.count == 1, "nothing else was made")
    }

    @Test func `routes, methods and kinds of bodies`() async throws {
        let host = try await TestHost.start(workers: 1, home: nil)
        let http = try host.connect()
        for path in [
            "/nothing", "/api", "/api/users/a/b", "/%00", "/api/users/%2e%2e%2f", "//api/users",
        ] {
            let reply = try await http.get(path)
            #expect(reply.status == 404 && reply.json["message"].string != nil, "\(path): \(reply.status)")
        }
        for (method, path, allowed) in [
            ("DELETE", "/api/users", ["GET", "HEAD", "POST"]), ("POST", "/", ["GET", "HEAD"]),
            ("PATCH", "/api/graph", ["GET", "HEAD"]), ("GET", "/api/users/x/link", ["POST"]),
        ] {
            let reply = try await http.request(method, path)
            #expect(reply.status == 405, "\(method) \(path)")
            let allow = Set(
                (reply["allow"] ?? "").split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) })
            #expect(allow.isSuperset(of: allowed), "\(method) \(path): \(allow)")
        }
        let text = try await http.request("POST", "/api/users", body: "a", headers: [("Content-Type", "text/plain")])
        #expect(text.status == 415)
        let head = try await http.request("HEAD", "/api/users")
        #expect(head.status == 200 && head["content-length"] == "2" && head.body.readableBytes == 0)
        #expect(try await http.get("/").status == 200)
    }

    @Test func `what is too large`() async throws {
        let host = try await TestHost.start(workers: 1, home: nil)
        let large = #"{"username":"\#(String(repeating: "a", count: 1 << 20))"}"#
        let body = try await host.connect().request("POST", "/api/users", body: large)
        #expect(body.status == 413 && body.json["message"].string != nil)
        for (method, path) in [("POST", "/nope"), ("POST", "/"), ("DELETE", "/api/users/x"), ("PUT", "/api/users/x")] {
            let client = try host.connect()
            try await client.send("\(method) \(path) HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\nabc")
            #expect(try await client.reply().status == 413, "\(method) \(path)")
            #expect(try await client.closes())
        }
        // In chunks, to whom nobody listens: answered, and not listened to any longer.
        for (method, path, status) in [("GET", "/", 200), ("POST", "/nope", 404)] {
            let client = try host.connect()
            try await client.send("\(method) \(path) HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            #expect(try await client.reply().status == status, "\(method) \(path)")
            let chunk = "10000\r\n\(String(repeating: "a", count: 0x10000))\r\n"
            for _ in 0..<17 { try? await client.send(chunk) }
            #expect(try await client.closes())
        }
        let http = try host.connect()
        try await http.send("GET / HTTP/1.1\r\nHost: a\r\nX: \(String(repeating: "a", count: 20_000))\r\n\r\n")
        let head = try await http.reply()
        #expect(head.status == 431 && head.json["message"].string != nil)
        #expect(try await host.connect().get("/").status == 200)
    }

    @Test func `requests that are none`() async throws {
        let host = try await TestHost.start(workers: 1, home: nil)
        for text in [
            "GARBAGE\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
            "POST /api/users HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            "POST /api/users HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            "POST /api/users HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        ] {
            let http = try host.connect()
            try await http.send(text)
            let reply = try await http.reply()
            #expect((400..<500).contains(reply.status), "\(text.prefix(40)): \(reply.status)")
            #expect(try await http.closes(), "\(text.prefix(40))")
        }
        #expect(try await host.connect().get("/").status == 200)
        #expect(host.workers[0].child.exit == nil)
    }

    @Test func `pages of allowed origins, and no others`() async throws {
        let host = try await TestHost.start(
            workers: 1, home: nil, environment: ["FRONTEND_ORIGIN_URL": "https://a.example,http://b.example:81"])
        let http = try host.connect()
        for origin in ["https://a.example", "http://b.example:81"] {
            let reply = try await http.request("GET", "/", headers: [("Origin", origin)])
            #expect(reply["access-control-allow-origin"] == origin)
            #expect(reply["vary"]?.contains("Origin") == true)
            let preflight = try await http.request(
                "OPTIONS", "/api/users",
                headers: [("Origin", origin), ("Access-Control-Request-Method", "POST")])
            #expect((200..<300).contains(preflight.status))
            #expect(preflight["access-control-allow-methods"]?.contains("POST") == true)
        }
        for origin in [
            "https://a.example.evil.com", "http://a.example", "https://a.example/", "null", "HTTPS://A.EXAMPLE",
        ] {
            let reply = try await http.request("GET", "/", headers: [("Origin", origin)])
            #expect(reply.status == 200 && reply["access-control-allow-origin"] == nil, "\(origin)")
        }
    }

    @Test func `a name that can't be looked up is no end`() async throws {
        let port = try ReservedPort()
        let worker = try await WorkerProcess(port: port, database: "mongodb+srv://db.a.invalid/test", socketPath: "")
        let http = try HTTPConnection(port: port.number)
        let reply = try await http.get("/api/users")
        #expect(reply.status == 503 && reply["retry-after"] != nil && !reply.text.contains("invalid"), "\(reply.text)")
        await eventually("it says why", details: { worker.transcript }) {
            worker.log.contains("the name in DB_URL (mongodb+srv) can't be looked up")
        }
        #expect(try await worker.stop() == .status(0))
    }

    @Test func `no database: an answer within the time, and recovery by itself`() async throws {
        let mongo = try await MongoServer()
        let host = try await TestHost.start(workers: 1, home: .embedded, mongo: mongo)
        let http = try host.connect()
        _ = try await http.get("/api/users")
        mongo.kill()
        #expect(try await http.get("/api/users").cache == "L1", "what is fresh needs no database")
        let begin = PatientClock.now
        let reply = try await http.get("/api/users/paginated/list")
        #expect(reply.status == 503 && reply["retry-after"] != nil, "\(reply.text)")
        #expect(PatientClock.now - begin < .seconds(4))
        let write = try await http.request("POST", "/api/users", body: #"{"username":"a","age":1,"hobbies":[]}"#)
        #expect(write.status == 503 && !write.text.contains("127.0.0.1"), "\(write.text)")
        try await mongo.start()
        try await eventually("it works again", within: .seconds(20), details: { host.transcript }) {
            try await http.get("/api/users/paginated/list").status == 200
        }
    }
}
