import NIOCore
import TestSupport
import Testing

@testable import apiworker

/// docs/http-api.md, "Connections": the order of responses, the end of connections, and clients of HTTP/1.0.
@Suite(.tags(.servers), .processes) struct HTTPPipelineTests {
    private static let large = "GET /large HTTP/1.1\r\nHost: a\r\n\r\n"

    // MARK: At once

    @Test func `what is known at once is answered in order with what takes time`() async throws {
        try await RunningServer.with { server in
            let http = try server.connect()
            let paths = ["/at-once", "/2", "/at-once", "/at-once", "/5", "/at-once"]
            try await http.send(paths.map { "GET \($0) HTTP/1.1\r\nHost: a\r\n\r\n" }.joined())
            for path in paths { #expect(try await http.reply().text == "\"\(path)\"") }
        }
    }

    @Test func `thousands of requests behind one that takes time need no stack`() async throws {
        try await RunningServer.with { server in
            let http = try server.connect()
            try await http.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            await server.slowRequest()
            try await http.send(String(repeating: "GET /at-once HTTP/1.1\r\nHost: a\r\n\r\n", count: 5000))
            server.open()
            #expect(try await http.reply().text == "\"/slow\"")
            for _ in 0..<5000 { #expect(try await http.reply().text == "\"/at-once\"") }
        }
    }

    @Test(arguments: [((1 << 20) + 1, true), (1 << 20, false)])
    func `the end of the connection is announced where the body of a request is too long to be waited for`(
        length: Int, closes: Bool
    ) async throws {
        try await RunningServer.with { server in
            let http = try server.connect()
            try await http.send("GET /at-once HTTP/1.1\r\nHost: a\r\nContent-Length: \(length)\r\n\r\n")
            #expect(try await http.reply()["connection"] == (closes ? "close" : nil))
        }
    }

    @Test func `connections with very many requests take turns`() async throws {
        try await RunningServer.with { server in
            let (one, other) = (try server.connect(), try server.connect())
            // Both are accepted.
            for http in [one, other] { #expect(try await http.get("/at-once").status == 200) }
            try await server.whileItWaits {
                for (http, path) in [(one, "/1"), (other, "/2")] {
                    try await http.send(String(repeating: "GET \(path) HTTP/1.1\r\nHost: a\r\n\r\n", count: 2000))
                }
            }
            for http in [one, other] {
                for _ in 0..<2000 { #expect(try await http.reply().status == 200) }
            }
            // Of the first hundred, each has some forty in each turn.
            #expect(Set(server.paths.dropFirst(2).prefix(100)) == ["/1", "/2"])
        }
    }

    @Test func `long bodies that are being sent are limited, and make room when their clients leave`() async throws {
        var limits = HTTPLimits()
        (limits.sendingBytes, limits.yieldingWrite) = (20 << 20, .hours(1))
        try await RunningServer.with(limits) { server in
            var one: HTTPConnection? = try server.connect()
            let (other, third) = (try server.connect(), try server.connect())
            try await one?.send(Self.large)
            try await other.send(Self.large)
            await eventually("both are being sent") { server.paths.count == 2 }
            let refused = try await third.get("/large")
            #expect(refused.status == 503 && refused["retry-after"] == "1")
            #expect(try await third.get("/at-once").status == 200)
            #expect(server.statuses == [200, 200, 503, 200], "each response is counted once")
            #expect(try await third.request("HEAD", "/large").status == 200, "it has no body")
            one = nil
            try await eventually("there is room again") { try await third.get("/large").status == 200 }
            #expect(try await other.reply().text.utf8.count == 8 << 20)
        }
    }

    @Test func `who has not read a long body for longest makes room for others`() async throws {
        var limits = HTTPLimits()
        (limits.sendingBytes, limits.yieldingWrite) = (20 << 20, .zero)
        try await RunningServer.with(limits) { server in
            let reader = try HTTPConnection(port: server.port, receiveBuffer: 1 << 16)
            let (idle, third) = (try HTTPConnection(port: server.port, receiveBuffer: 1 << 16), try server.connect())
            try await reader.send(Self.large)
            await eventually("the first is being sent") { server.paths.count == 1 }
            try await idle.send(Self.large)
            await eventually("both are being sent") { server.paths.count == 2 }
            while await reader.unread.utf8.count < 4 << 20 { try await reader.receive() }
            #expect(try await third.get("/large").text.utf8.count == 8 << 20)
            #expect(try await idle.closes())
            #expect(await idle.unread.utf8.count < 8 << 20)
            #expect(try await reader.reply().text.utf8.count == 8 << 20)
        }
    }

    @Test(arguments: [("GET", true), ("HEAD", true), ("DELETE", false), ("POST", false)])
    func `work for a client that has left ends, unless it may change something`(
        method: String, ends: Bool
    ) async throws {
        try await RunningServer.with { server in
            var client: HTTPConnection? = try server.connect()
            try await client?.send("\(method) /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            await server.slowRequest()
            await client?.resetAtClose()
            client = nil
            if ends { await eventually("it has ended") { server.cancelledPaths == ["/slow"] } }
            server.open()
            if !ends { await eventually("it has ended in its own time") { server.statuses == [200] } }
            #expect(server.cancelledPaths == (ends ? ["/slow"] : []))
            #expect(server.statuses == (ends ? [] : [200]), "only a response is counted")
        }
    }

    @Test func `who does not read is asked for nothing more`() async throws {
        try await RunningServer.with { server in
            let http = try server.connect()
            // 8 MiB each: more than the kernel takes. The requests after the first stay with the client.
            let requests = String(repeating: "GET /large HTTP/1.1\r\nHost: a\r\n\r\n", count: 600_000)
            await #expect(throws: (any Error).self) { try await http.send(requests) }
            #expect(try await server.connect().get("/at-once").status == 200, "the others don't notice")
        }
    }

    @Test func `a response is sent in full before the connection is closed, however slowly it is read`() async throws {
        var limits = HTTPLimits()
        limits.linger = .milliseconds(10)
        try await RunningServer.with(limits) { server in
            let http = try server.connect()
            try await http.send("GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            // Long after the time in which a closed connection accepts input.
            try await Task.sleep(for: .seconds(1))
            #expect(try await http.reply().text.utf8.count == 8 << 20)
            #expect(try await http.closes())
        }
    }

    @Test(arguments: [
        ("GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", [200]),
        (
            "GET /large HTTP/1.1\r\nHost: a\r\n\r\nPOST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{",
            [200, 400]
        ),
        (
            "GET /large HTTP/1.1\r\nHost: a\r\n\r\nGET /large HTTP/1.1\r\nHost: a\r\n\r\nNO HTTP\r\n\r\n",
            [200, 200, 400]
        ),
    ])
    func `who reads slowly and has nothing more to say gets everything`(text: String, statuses: [Int]) async throws {
        try await RunningServer.with { server in
            let http = try server.connect()
            try await http.send(text)
            await http.shutdownWriting()
            try await Task.sleep(for: .milliseconds(300))
            for status in statuses {
                let reply = try await http.reply()
                #expect(reply.status == status && (status != 200 || reply.text.utf8.count == 8 << 20))
            }
            #expect(try await http.closes(within: .seconds(9)))
        }
    }

    @Test(arguments: ["/at-once", "/slow", "/large"])
    func `who has nothing more to say gets the answers`(path: String) async throws {
        try await RunningServer.with { server in
            let http = try server.connect()
            try await http.send("GET \(path) HTTP/1.1\r\nHost: a\r\n\r\n" + RunningServer.get)
            await http.shutdownWriting()
            server.open()
            #expect(try await http.reply().status == 200)
            #expect(try await http.reply().text == "\"/a\"")
            #expect(try await http.closes())
            let silent = try server.connect()
            await silent.shutdownWriting()
            #expect(try await silent.closes(within: .seconds(9)), "long before the idle time ends")
        }
    }

    @Test func `the rest of a body that nobody reads is dropped`() async throws {
        try await RunningServer.with { server in
            let http = try server.connect()
            for path in ["/at-once", "/other"] {
                try await http.send("GET \(path) HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
                #expect(try await http.reply().text == "\"\(path)\"")
                try await http.send("hello" + RunningServer.get)
                #expect(try await http.reply().text == "\"/a\"")
            }
            // Chunks that are none, after the response to their request.
            try await http.send("GET /at-once HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            #expect(try await http.reply().text == "\"/at-once\"")
            try await http.send("xyz\r\n" + RunningServer.get)
            #expect(try await http.closes())
        }
    }

    @Test(arguments: [("/close", 1), ("/close", 3), ("/slow-close", 2)])
    func `behind a response that closes the connection, nothing is carried out`(path: String, count: Int) async throws {
        try await RunningServer.with { server in
            let http = try server.connect()
            let last = "GET \(path) HTTP/1.1\r\nHost: a\r\n\r\n"
            try await http.send(
                String(repeating: last, count: count) + "GET /slow HTTP/1.1\r\nHost: a\r\n\r\nNO HTTP\r\n\r\n")
            #expect(try await http.reply()["connection"] == "close")
            #expect(try await http.closes())
            #expect(await http.unread == "")
            #expect(server.slowRequestCount == 0)
        }
    }

    @Test(arguments: ["/at-once", "/slow", "/other"]) func `a body is asked for when its turn comes`(path: String)
        async throws
    {
        try await RunningServer.with { server in
            let http = try server.connect()
            try await http.send(
                "GET \(path) HTTP/1.1\r\nHost: a\r\n\r\nPOST /body HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                    + "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            server.open()
            #expect(try await http.reply().text == "\"\(path)\"")
            #expect(try await http.reply().status == 100)
            try await http.send("{}")
            #expect(try await http.reply().text == "\"/body\"")
        }
    }

    @Test func `a deadline cuts no earlier response`() async throws {
        var limits = HTTPLimits()
        (limits.arrival, limits.idle) = (.milliseconds(100), .milliseconds(100))
        let large = "GET /large HTTP/1.1\r\nHost: a\r\n"
        let body = "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{"
        for (text, last) in [
            (large + "\r\n", nil), (large + "Connection: close\r\n\r\n", nil), (large + "\r\nGET", nil),
            (large + "\r\n" + body, 400),
        ] as [(String, Int?)] {
            try await RunningServer.with(limits) { server in
                let http = try server.connect()
                try await http.send(text)
                try await Task.sleep(for: .seconds(1))
                #expect(try await http.reply().text.utf8.count == 8 << 20)
                if let last { #expect(try await http.reply().status == last) }
                #expect(try await http.closes())
            }
        }
    }

    /// Each part takes less than the time, and all of them longer. A machine under load may make the client pause for
    /// longer than it means to: such an attempt says nothing.
    @Test func `who reads slowly is not cut`() async throws {
        var limits = HTTPLimits()
        limits.stalledWrite = .seconds(2)
        try await RunningServer.with(limits) { server in
            for _ in 0..<10 {
                let http = try HTTPConnection(port: server.port, receiveBuffer: 64 << 10)
                try await http.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
                var longestPause = Duration.zero
                var lastRead = ContinuousClock.now
                for _ in 0..<40 {
                    try await Task.sleep(for: .milliseconds(100))
                    for _ in 0..<2 { try await http.receive() }
                    longestPause = max(longestPause, .now - lastRead)
                    lastRead = .now
                }
                if longestPause > .seconds(1) { continue }
                #expect(try await http.reply().text.utf8.count == 8 << 20)
                return
            }
            Issue.record("the client paused for more than a second in each of ten attempts")
        }
    }

    // MARK: HTTP/1.0

    @Test(arguments: ["/at-once", "/other"]) func `HTTP 1.0 keeps a connection if asked`(path: String) async throws {
        try await RunningServer.with { server in
            let http = try server.connect()
            for _ in 0..<2 {
                try await http.send("GET \(path) HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                let reply = try await http.reply()
                #expect(reply.text == "\"\(path)\"" && reply["connection"] == "keep-alive")
            }
            try await http.send("GET \(path) HTTP/1.0\r\n\r\n")
            #expect(try await http.reply()["connection"] == "close")
            #expect(try await http.closes())
        }
    }

    @Test func `HTTP 1.0 has no chunks in requests`() async throws {
        try await RunningServer.with { server in
            let http = try server.connect()
            try await http.send(
                "POST /body HTTP/1.0\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
            )
            #expect(try await http.reply().status == 400)
            #expect(try await http.closes())
        }
    }
}
