import NIOCore
import TestSupport
import Testing

@testable import apiworker

/// docs/http-api.md, "Connections": the server on a real socket, with short limits.
@Suite(.tags(.servers), .processes) struct HTTPServerTests {
    // MARK: Requests

    @Test func `several requests on one connection, also at once`() async throws {
        try await RunningServer.with { server in
            let http = try server.connect()
            #expect(try await http.get("/1").text == "\"/1\"")
            try await http.send(
                "GET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\nGET /4 HTTP/1.1\r\nHost: a\r\n\r\n"
            )
            for path in ["/2", "/3", "/4"] { #expect(try await http.reply().text == "\"\(path)\"") }
        }
    }

    @Test func `requests are answered on the event loop`() async throws {
        try await RunningServer.with { server in
            let http = try server.connect()
            for _ in 0..<3 { #expect(try await http.get("/thread").text == "true") }
        }
    }

    @Test func `what comes before something that is no HTTP is answered`() async throws {
        try await RunningServer.with { server in
            let http = try server.connect()
            try await http.send(RunningServer.get + RunningServer.get + "NO HTTP\r\n\r\n" + RunningServer.get)
            #expect(try await http.reply().status == 200)
            #expect(try await http.reply().status == 200)
            let rejection = try await http.reply()
            #expect(rejection.status == 400 && rejection.json["message"].string == "Malformed HTTP request")
            #expect(rejection["connection"] == "close" && rejection["x-worker"] == WorkerIdentity().text)
            #expect(try await http.closes())
        }
    }

    @Test(arguments: [
        ("GET / HTTP/1.1\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET / HTTP/1.0\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
    ])
    func `the connection is closed after the answer`(request: String, status: Int) async throws {
        try await RunningServer.with { server in
            let http = try server.connect()
            try await http.send(request + RunningServer.get)
            let reply = try await http.reply()
            #expect(reply.status == status && reply["connection"] == "close")
            #expect(try await http.closes())
        }
    }

    @Test func `16 KiB and 128 fields of headers`() async throws {
        try await RunningServer.with { server in
            func reply(_ headers: String) async throws -> HTTPReply {
                let http = try server.connect()
                try await http.send("GET / HTTP/1.1\r\nHost: a\r\n\(headers)\r\n")
                return try await http.reply()
            }
            func fields(_ count: Int) -> String { (0..<count).map { "x\($0): y\r\n" }.joined() }
            #expect(try await reply(fields(126)).status == 200)
            #expect(try await reply("x: \(String(repeating: "y", count: 15 << 10))\r\n").status == 200)
            for headers in [fields(129), "x: \(String(repeating: "y", count: 17 << 10))\r\n"] {
                let refused = try await reply(headers)
                #expect(refused.status == 431 && refused.json["message"].string == "Request headers too large")
            }
        }
    }

    @Test func `a body is asked for where it will be taken`() async throws {
        var limits = HTTPLimits()
        limits.bodyBytes = 10
        try await RunningServer.with(limits) { server in
            func head(_ length: Int) -> String {
                "POST /body HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
                    + "Content-Length: \(length)\r\n\r\n"
            }
            let http = try server.connect()
            try await http.send(head(2))
            #expect(try await http.reply().status == 100)
            try await http.send("{}")
            #expect(try await http.reply().status == 200)
            let long = try server.connect()
            try await long.send(head(11))
            #expect(try await long.reply().status == 413)
            #expect(try await long.closes())
        }
    }

    // MARK: Bodies without a length

    @Test func `a body without a length comes in chunks`() async throws {
        try await RunningServer.with { server in
            let http = try server.connect()
            try await http.send("GET /parts HTTP/1.1\r\nHost: a\r\n\r\n" + RunningServer.get)
            let reply = try await http.reply()
            #expect(reply["transfer-encoding"] == "chunked" && reply["content-length"] == nil)
            #expect(try await http.bytes(upTo: "0\r\n\r\n") == "3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
            #expect(try await http.reply().text == "\"/a\"")
        }
    }

    @Test func `and for HEAD not at all, not even as an empty chunk`() async throws {
        try await RunningServer.with { server in
            let http = try server.connect()
            try await http.send("HEAD /parts HTTP/1.1\r\nHost: a\r\n\r\n" + RunningServer.get)
            let head = try await http.reply(isHead: true)
            #expect(head.status == 200 && head["content-length"] == nil)
            #expect(try await http.reply().text == "\"/a\"")
        }
    }

    @Test(arguments: ["close", "keep-alive"])
    func `HTTP 1.0 knows no chunks`(connection: String) async throws {
        try await RunningServer.with { server in
            let http = try server.connect()
            try await http.send("GET /parts HTTP/1.0\r\nConnection: \(connection)\r\n\r\n")
            let reply = try await http.reply()
            #expect(reply.status == 200 && reply["connection"] == "close" && reply["transfer-encoding"] == nil)
            #expect(try await http.bytes(upTo: "two") == "onetwo")
            #expect(try await http.closes())
        }
    }

    // MARK: Time

    @Test func `what comes after the last request needs no deadline`() async throws {
        var limits = HTTPLimits()
        limits.arrival = .milliseconds(100)
        try await RunningServer.with(limits) { server in
            let http = try server.connect()
            try await http.send("GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            await server.slowRequest()
            // Whether it is cut shows when the deadlines of two others are over.
            try await http.send("GET /more HTTP/1.1\r\nHo")
            for _ in 0..<2 {
                let other = try server.connect()
                try await other.send("G")
                #expect(try await other.closes())
            }
            server.open()
            #expect(try await http.reply().text == "\"/slow\"")
        }
    }

    @Test(arguments: [
        "G", "GET / HTTP/1.1\r\nHost: a\r\nX: ",
        "POST /body HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
        // A chunk of nearly 2^64 bytes is not waited for.
        "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{",
    ])
    func `a request that doesn't arrive`(part: String) async throws {
        var limits = HTTPLimits()
        limits.arrival = .milliseconds(200)
        try await RunningServer.with(limits) { server in
            let http = try server.connect()
            #expect(try await http.get("/").status == 200)
            try await http.send(part)
            #expect(try await http.closes(within: .seconds(30)), "long before the idle time ends")
            #expect(try await server.connect().get("/").status == 200)
        }
    }

    @Test func `a connection without a request`() async throws {
        var limits = HTTPLimits()
        limits.idle = .milliseconds(200)
        try await RunningServer.with(limits) { server in
            let (silent, http) = (try server.connect(), try server.connect())
            #expect(try await http.get("/").status == 200)
            #expect(try await http.closes(within: .seconds(30)))
            #expect(try await silent.closes(within: .seconds(30)))
        }
    }

    @Test func `one connection too many is closed`() async throws {
        var limits = HTTPLimits()
        limits.connections = 2
        try await RunningServer.with(limits) { server in
            let first = try server.connect()
            var second: HTTPConnection? = try server.connect()
            #expect(try await first.get("/").status == 200)
            #expect(try await second?.get("/").status == 200)
            #expect(try await server.connect().closes())
            #expect(try await first.get("/").status == 200, "the others don't notice")
            second = nil
            await eventually("there is room again") { (try? await server.connect().get("/").status) == 200 }
        }
    }

    // MARK: The end

    @Test func `requests that have begun are finished`() async throws {
        try await RunningServer.with { server in
            let http = try server.connect()
            try await http.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            await server.slowRequest()
            await server.shutDown()
            await eventually("nothing more is accepted") { (try? server.connect()) == nil }
            server.open()
            let reply = try await http.reply()
            #expect(reply.status == 200 && reply["connection"] == "close")
            #expect(try await http.closes())
            try await server.ended()
        }
    }

    @Test func `a request that was on its way is answered, and its client told to close`() async throws {
        var limits = HTTPLimits()
        limits.lastRequest = .seconds(30)
        limits.grace = .seconds(60)
        try await RunningServer.with(limits) { server in
            let http = try server.connect()
            #expect(try await http.get("/")["connection"] == nil)
            await server.shutDown()
            await eventually("nothing more is accepted") { (try? server.connect()) == nil }
            let reply = try await http.get("/last")
            #expect(reply.text == "\"/last\"" && reply["connection"] == "close")
            #expect(try await http.closes())
            try await server.ended()
        }
    }

    @Test func `what was written is read to its end, however slowly`() async throws {
        var limits = HTTPLimits()
        limits.lastRequest = .milliseconds(1)
        try await RunningServer.with(limits) { server in
            let http = try server.connect()
            try await http.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
            #expect(try await server.connect().get("/other").status == 200, "the first is answered by now")
            await server.shutDown()
            try await Task.sleep(for: .milliseconds(500))
            #expect(try await http.reply().text.utf8.count == 8 << 20)
            #expect(try await http.closes())
        }
    }

    @Test func `without one it is closed`() async throws {
        var limits = HTTPLimits()
        limits.lastRequest = .milliseconds(100)
        try await RunningServer.with(limits) { server in
            let http = try server.connect()
            #expect(try await http.get("/").status == 200)
            await server.shutDown()
            #expect(try await http.closes(within: .seconds(9)), "before the grace ends")
            try await server.ended()
        }
    }

    @Test func `a second signal cuts everything, also what was just accepted`() async throws {
        for _ in 0..<20 {
            try await RunningServer.with { server in
                let connections = try (0..<20).map { _ in try server.connect() }
                server.cut()
                try await server.ended()
                for connection in connections { #expect(try await connection.closes()) }
            }
        }
    }

    @Test func `what has just been accepted when the end begins is closed in good order`() async throws {
        var limits = HTTPLimits()
        limits.lastRequest = .milliseconds(1)
        for _ in 0..<20 {
            try await RunningServer.with(limits) { server in
                let connections = try (0..<20).map { _ in try server.connect() }
                await server.shutDown()
                try await server.ended()
                for connection in connections { #expect(try await connection.closes()) }
            }
        }
    }

    @Test func `a second signal ends a request that waits`() async throws {
        try await RunningServer.with { server in
            let http = try server.connect()
            try await http.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            await server.slowRequest()
            await server.shutDown()
            server.cut()
            #expect(try await http.closes(within: .seconds(9)), "before the grace ends")
            try? await server.ended()
        }
    }

    @Test func `what takes too long is cut`() async throws {
        var limits = HTTPLimits()
        limits.grace = .milliseconds(200)
        try await RunningServer.with(limits) { server in
            let http = try server.connect()
            try await http.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            await server.slowRequest()
            await server.shutDown()
            #expect(try await http.closes())
            server.open()
            try await server.ended()
        }
    }
}
