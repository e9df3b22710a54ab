import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import ServiceLifecycle
import Synchronization
import TestSupport
import Testing

@testable import apiworker

/// docs/http-api.md, "Connections": the server on a real socket, with short limits.
@Suite(.tags(.servers), .processes) struct HTTPServerTests {
    /// A server of one test. `/slow` is answered when ``open()`` is called, `/body` when its body is there, `/at-once` and
    /// `/large` in the turn in which they arrive.
    private final class Running: Sendable {
        let port: Int
        private let group: ServiceGroup
        private let serving: Task<Void, any Error>
        private let gate: AsyncStream<Void>.Continuation
        private let entered: AsyncStream<Void>
        private let slow = Count()

        private final class Count: Sendable {
            let number = Mutex(0)
        }

        init(_ limits: HTTPLimits) async throws {
            let (ports, listening) = AsyncStream<Int>.makeStream()
            let (opened, gate) = AsyncStream<Void>.makeStream()
            let (entered, enter) = AsyncStream<Void>.makeStream()
            (self.gate, self.entered) = (gate, entered)
            let eventLoop = MultiThreadedEventLoopGroup.singleton.any()
            let server = HTTPServer(
                address: .host("127.0.0.1", port: 0), limits: limits,
                connections: OpenConnections(limit: limits.connections), worker: WorkerIdentity(), eventLoop: eventLoop,
                logger: Logger(label: "test"),
                answering: Answering(
                    begin: { request, _ in Self.begin(request) },
                    respond: { [slow] request in
                        switch request.path {
                        case "/thread":
                            // Also after it has waited for something that goes on elsewhere.
                            let before = eventLoop.inEventLoop
                            try? await Task.sleep(for: .milliseconds(1))
                            return JSONResponse.make(ByteBuffer(string: "\(before && eventLoop.inEventLoop)"))
                        case "/slow":
                            slow.number.withLock { $0 += 1 }
                            enter.yield()
                            for await _ in opened {}
                        case "/slow-close": return Self.path(request).with("Connection", "close")
                        case "/parts":
                            let parts = Mutex(["one", "two"])
                            return Response(
                                body: .parts {
                                    parts.withLock { $0.isEmpty ? nil : [ByteBuffer(string: $0.removeFirst())] }
                                })
                        default: break
                        }
                        return Self.path(request)
                    },
                    refuse: { _, fault in
                        switch fault {
                        case .tooLarge: APIError.bodyTooLarge.response
                        case .malformed: APIError.malformedRequest.response
                        }
                    }),
                onListening: { listening.yield($0) })
            group = ServiceGroup(services: [server], logger: Logger(label: "test"))
            serving = Task { [group] in try await group.run() }
            port = try #require(await ports.first { _ in true })
        }

        private static func begin(_ request: Request) -> Beginning {
            switch request.path {
            case "/body": request.hasBody(over: 10) ? .answered(APIError.bodyTooLarge.response) : .needsBody
            case "/at-once": .answered(path(request))
            case "/close": .answered(path(request).with("Connection", "close"))
            case "/large": .answered(JSONResponse.make(ByteBuffer(repeating: UInt8(ascii: "x"), count: 8 << 20)))
            default: .needsTime
            }
        }

        private static func path(_ request: Request) -> Response {
            JSONResponse.make(ByteBuffer(string: "\"\(request.path)\""))
        }

        func connect() throws -> HTTPConnection { try HTTPConnection(port: port) }
        /// Waits until a request to `/slow` has come in.
        func slowRequest() async { _ = await entered.first { _ in true } }
        /// Number of requests to `/slow` so far.
        var slowRequestCount: Int { slow.number.withLock { $0 } }
        func open() { gate.finish() }
        func shutDown() async { await group.triggerGracefulShutdown() }
        func ended() async throws { try await serving.value }

        /// As a second signal does.
        func cut() { serving.cancel() }
    }

    private static func with(_ limits: HTTPLimits = HTTPLimits(), _ body: (Running) async throws -> Void) async throws {
        let server = try await Running(limits)
        let result: Result<Void, any Error>
        do {
            result = .success(try await body(server))
        } catch {
            result = .failure(error)
        }
        server.open()
        server.cut()
        try? await server.ended()
        try result.get()
    }

    private static let get = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n"

    // MARK: Requests

    @Test func `several requests on one connection, also at once`() async throws {
        try await Self.with { server in
            let http = try server.connect()
            #expect(try await http.get("/1").text == "\"/1\"")
            try await http.send(
                "GET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\nGET /4 HTTP/1.1\r\nHost: a\r\n\r\n"
            )
            for path in ["/2", "/3", "/4"] { #expect(try await http.reply().text == "\"\(path)\"") }
        }
    }

    @Test func `requests are answered on the event loop`() async throws {
        try await Self.with { server in
            let http = try server.connect()
            for _ in 0..<3 { #expect(try await http.get("/thread").text == "true") }
        }
    }

    @Test func `what comes before something that is no HTTP is answered`() async throws {
        try await Self.with { server in
            let http = try server.connect()
            try await http.send(Self.get + Self.get + "NO HTTP\r\n\r\n" + Self.get)
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
        try await Self.with { server in
            let http = try server.connect()
            try await http.send(request + Self.get)
            let reply = try await http.reply()
            #expect(reply.status == status && reply["connection"] == "close")
            #expect(try await http.closes())
        }
    }

    @Test func `16 KiB and 128 fields of headers`() async throws {
        try await Self.with { server in
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
        try await Self.with(limits) { server in
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

    // MARK: At once

    @Test func `what is known at once is answered in order with what takes time`() async throws {
        try await Self.with { server in
            let http = try server.connect()
            let paths = ["/at-once", "/2", "/at-once", "/at-once", "/5", "/at-once"]
            try await http.send(paths.map { "GET \($0) HTTP/1.1\r\nHost: a\r\n\r\n" }.joined())
            for path in paths { #expect(try await http.reply().text == "\"\(path)\"") }
        }
    }

    @Test func `thousands of requests behind one that takes time need no stack`() async throws {
        try await Self.with { server in
            let http = try server.connect()
            try await http.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            await server.slowRequest()
            try await http.send(String(repeating: "GET /at-once HTTP/1.1\r\nHost: a\r\n\r\n", count: 5000))
            server.open()
            #expect(try await http.reply().text == "\"/slow\"")
            for _ in 0..<5000 { #expect(try await http.reply().text == "\"/at-once\"") }
        }
    }

    @Test func `who does not read is asked for nothing more`() async throws {
        try await Self.with { server in
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
        try await Self.with(limits) { server in
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
        try await Self.with { server in
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
        try await Self.with { server in
            let http = try server.connect()
            try await http.send("GET \(path) HTTP/1.1\r\nHost: a\r\n\r\n" + Self.get)
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
        try await Self.with { server in
            let http = try server.connect()
            for path in ["/at-once", "/other"] {
                try await http.send("GET \(path) HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
                #expect(try await http.reply().text == "\"\(path)\"")
                try await http.send("hello" + Self.get)
                #expect(try await http.reply().text == "\"/a\"")
            }
            // Chunks that are none, after the response to their request.
            try await http.send("GET /at-once HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            #expect(try await http.reply().text == "\"/at-once\"")
            try await http.send("xyz\r\n" + Self.get)
            #expect(try await http.closes())
        }
    }

    @Test(arguments: [("/close", 1), ("/close", 3), ("/slow-close", 2)])
    func `behind a response that closes the connection, nothing is carried out`(path: String, count: Int) async throws {
        try await Self.with { server in
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

    // MARK: HTTP/1.0

    @Test(arguments: ["/at-once", "/other"]) func `HTTP 1.0 keeps a connection if asked`(path: String) async throws {
        try await Self.with { server in
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
        try await Self.with { server in
            let http = try server.connect()
            try await http.send(
                "POST /body HTTP/1.0\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
            )
            #expect(try await http.reply().status == 400)
            #expect(try await http.closes())
        }
    }

    // MARK: Bodies without a length

    @Test func `a body without a length comes in chunks`() async throws {
        try await Self.with { server in
            let http = try server.connect()
            try await http.send("GET /parts HTTP/1.1\r\nHost: a\r\n\r\n" + Self.get)
            let reply = try await http.reply()
            #expect(reply["transfer-encoding"] == "chunked" && reply["content-length"] == nil)
            #expect(try await http.bytes(upTo: "0\r\n\r\n") == "3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
            #expect(try await http.reply().text == "\"/a\"")
        }
    }

    @Test func `and for HEAD not at all, not even as an empty chunk`() async throws {
        try await Self.with { server in
            let http = try server.connect()
            try await http.send("HEAD /parts HTTP/1.1\r\nHost: a\r\n\r\n" + Self.get)
            let head = try await http.reply(isHead: true)
            #expect(head.status == 200 && head["content-length"] == nil)
            #expect(try await http.reply().text == "\"/a\"")
        }
    }

    @Test(arguments: ["close", "keep-alive"])
    func `HTTP 1.0 knows no chunks`(connection: String) async throws {
        try await Self.with { server in
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
        try await Self.with(limits) { server in
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
        try await Self.with(limits) { server in
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
        try await Self.with(limits) { server in
            let (silent, http) = (try server.connect(), try server.connect())
            #expect(try await http.get("/").status == 200)
            #expect(try await http.closes(within: .seconds(30)))
            #expect(try await silent.closes(within: .seconds(30)))
        }
    }

    @Test func `one connection too many is closed`() async throws {
        var limits = HTTPLimits()
        limits.connections = 2
        try await Self.with(limits) { server in
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
        try await Self.with { server in
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
        try await Self.with(limits) { server in
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
        try await Self.with(limits) { server in
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
        try await Self.with(limits) { server in
            let http = try server.connect()
            #expect(try await http.get("/").status == 200)
            await server.shutDown()
            #expect(try await http.closes(within: .seconds(9)), "before the grace ends")
            try await server.ended()
        }
    }

    @Test func `a second signal cuts everything, also what was just accepted`() async throws {
        for _ in 0..<20 {
            try await Self.with { server in
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
            try await Self.with(limits) { server in
                let connections = try (0..<20).map { _ in try server.connect() }
                await server.shutDown()
                try await server.ended()
                for connection in connections { #expect(try await connection.closes()) }
            }
        }
    }

    @Test(.timeLimit(.minutes(5))) func `a second signal ends a request that waits`() async throws {
        try await Self.with { server in
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
        try await Self.with(limits) { server in
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
