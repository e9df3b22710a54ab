import IPC
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle
import TestSupport
import Testing

@testable import apiworker

/// docs/http-api.md, "Events for pages": streams on real sockets, with short limits. Their name puts them among the
/// tests that scripts/test runs beside others that wait.
@Suite(.tags(.servers), .processes) struct StreamHTTPServerTests {
    /// A server whose every path but `/` is a stream.
    private final class Running: Sendable {
        let port: Int
        let streams: EventStreams
        /// Whether anybody listens, whenever that changes.
        let listening: AsyncStream<Bool>
        /// The connections of streams, as they come.
        let opened: AsyncStream<any Channel>
        private let group: ServiceGroup
        private let serving: Task<Void, any Error>

        init(_ limits: HTTPLimits, _ streamLimits: EventStreams.Limits) async throws {
            let (ports, port) = AsyncStream<Int>.makeStream()
            let (changes, change) = AsyncStream<Bool>.makeStream()
            let streams = EventStreams(limits: streamLimits) { change.yield($0) }
            (self.streams, self.listening) = (streams, changes)
            let (opened, open) = AsyncStream<any Channel>.makeStream()
            self.opened = opened
            let server = HTTPServer(
                address: .host("127.0.0.1", port: 0), limits: limits,
                connections: OpenConnections(limit: limits.connections), worker: WorkerIdentity(),
                eventLoop: MultiThreadedEventLoopGroup.singleton.any(), logger: Logger(label: "test"),
                answering: Answering(
                    begin: { request, channel in
                        switch (request.path, request.method) {
                        case ("/", _): return .answered(JSONResponse.make(ByteBuffer(string: "{}")))
                        case (_, .HEAD): return .answered(EventStreams.head)
                        default:
                            let response = streams.response(on: channel) ?? APIError.tooManyStreams.response
                            open.yield(channel)
                            return .answered(response)
                        }
                    },
                    respond: { _ in APIError.unexpected.response },
                    refuse: { _, _ in APIError.malformedRequest.response }),
                onListening: { port.yield($0) })
            // Without syncd, as a worker has it.
            let cache = SyncedCache(
                configuration: SyncedCacheConfiguration(), eventLoop: MultiThreadedEventLoopGroup.singleton.any(),
                logger: Logger(label: "test"))
            group = ServiceGroup(
                services: [server, EventStreamKeeper(cache: cache, streams: streams)], logger: Logger(label: "test"))
            serving = Task { [group] in try await group.run() }
            self.port = try #require(await ports.first { _ in true })
        }

        func open(version: String = "1.1", receiveBuffer: Int32? = nil) async throws -> EventSource {
            try await EventSource(port: port, version: version, receiveBuffer: receiveBuffer)
        }
        func publish(_ data: String) {
            streams.publish(Event(channel: "c", payload: data))
        }
        func shutDown() async { await group.triggerGracefulShutdown() }
        func cut() { serving.cancel() }
        func ended() async throws { try await serving.value }
    }

    private static func with(
        _ limits: HTTPLimits = HTTPLimits(), _ streamLimits: EventStreams.Limits = EventStreams.Limits(),
        _ body: (Running) async throws -> Void
    ) async throws {
        let server = try await Running(limits, streamLimits)
        let result: Result<Void, any Error>
        do {
            result = .success(try await body(server))
        } catch {
            result = .failure(error)
        }
        server.cut()
        try? await server.ended()
        try result.get()
    }

    private static let detached = EventSource.Event("sync", #"{"sync":"detached","epoch":0}"#)

    @Test(arguments: ["1.1", "1.0"]) func `head, first news, events in order`(version: String) async throws {
        try await Self.with { server in
            let page = try await server.open(version: version)
            let head = await page.head
            #expect(head.status == 200 && head["content-type"] == "text/event-stream")
            #expect(head["cache-control"] == "no-store" && head["connection"] == "close")
            #expect(head["x-accel-buffering"] == "no" && head["content-length"] == nil)
            #expect(head["transfer-encoding"] == (version == "1.1" ? "chunked" : nil))
            #expect(try await page.next() == Self.detached)
            let other = try await server.open()
            #expect(try await other.next() == Self.detached)
            for text in ["1", "two\nlines", ""] { server.publish(text) }
            server.streams.publishInvalidation(position: 7, tags: ["users", "a\"b"])
            server.streams.publish(SyncNews(mode: .attached, epoch: 3))
            for page in [page, other] {
                for text in ["1", "two\nlines", ""] { #expect(try await page.next() == EventSource.Event("c", text)) }
                #expect(
                    try await page.next() == EventSource.Event("invalidate", #"{"position":7,"tags":["users","a\"b"]}"#)
                )
                #expect(try await page.next() == EventSource.Event("sync", #"{"sync":"attached","epoch":3}"#))
            }
        }
    }

    @Test func `neither deadlines nor silence end it, and comments come`() async throws {
        var limits = HTTPLimits()
        (limits.arrival, limits.idle, limits.stalledWrite) = (
            .milliseconds(100), .milliseconds(100), .milliseconds(100)
        )
        var streamLimits = EventStreams.Limits()
        streamLimits.commentInterval = .milliseconds(50)
        try await Self.with(limits, streamLimits) { server in
            let page = try await server.open()
            // A request that doesn't arrive would be cut.
            try await page.send("GET / HTT")
            #expect(try await page.waitForComments(20))
            server.publish("still here")
            #expect(try await page.next("c").data == "still here")
        }
    }

    @Test func `who does not read is cut off, and nobody waits for them`() async throws {
        var streamLimits = EventStreams.Limits()
        streamLimits.queuedBytes = 64 << 10
        try await Self.with(HTTPLimits(), streamLimits) { server in
            let slow = try await server.open(receiveBuffer: 64 << 10)
            let fast = try await server.open()
            let data = String(repeating: "x", count: 16 << 10)
            // The kernel has room, too, on both sides.
            var rounds = 0
            while server.streams.cutCount == 0, rounds < 200 {
                rounds += 1
                server.publish("\(rounds) \(data)")
                #expect(try await fast.next("c").data == "\(rounds) \(data)")
            }
            #expect(server.streams.cutCount == 1 && server.streams.count == 1, "\(rounds) rounds")
            #expect(try await slow.closes(within: .seconds(30)))
            #expect(await !slow.isFinished, "it learns that something is missing")
            server.publish("more")
            #expect(try await fast.next("c").data == "more")
        }
    }

    @Test func `the kernel holds little, and does not wait long for who vanished`() async throws {
        try await Self.with { server in
            let page = try await server.open()
            let channel = try #require(await server.opened.first { _ in true })
            #expect(try await channel.getOption(.socketOption(.so_sndbuf)).get() == 128 << 10, "doubled by the kernel")
            #expect(try await channel.getOption(EventStreams.silenceOption).get() == 60_000)
            server.publish("x")
            #expect(try await page.next("c").data == "x")
        }
    }

    @Test func `so many and no more, until one leaves`() async throws {
        var streamLimits = EventStreams.Limits()
        streamLimits.streams = 2
        try await Self.with(HTTPLimits(), streamLimits) { server in
            let first = try await server.open()
            var second: EventSource? = try await server.open()
            _ = try await second?.next()
            let refused = try await server.open()
            #expect(await refused.head.status == 503)
            #expect(await refused.head["retry-after"] == "1")
            second = nil
            await eventually("there is room again") { server.streams.count == 1 }
            let third = try await server.open()
            #expect(await third.head.status == 200)
            server.publish("x")
            for page in [first, third] { #expect(try await page.next("c").data == "x") }
        }
    }

    @Test func `whether anybody listens is told when it changes`() async throws {
        try await Self.with { server in
            var changes = server.listening.makeAsyncIterator()
            #expect(await changes.next() == false)
            for _ in 0..<2 {
                var first: EventSource? = try await server.open()
                _ = try await first?.next()
                #expect(await changes.next() == true)
                var second: EventSource? = try await server.open()
                _ = try await second?.next()
                first = nil
                await eventually("the first has left") { server.streams.count == 1 }
                second = nil
                #expect(await changes.next() == false)
            }
        }
    }

    @Test func `who has nothing more to say counts as gone`() async throws {
        try await Self.with { server in
            let page = try await server.open()
            _ = try await page.next()
            await page.shutdownWriting()
            #expect(try await page.closes())
            await eventually("it is forgotten") { server.streams.count == 0 }
            let http = try HTTPConnection(port: server.port)
            try await http.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
            await http.shutdownWriting()
            #expect(try await http.closes(), "also when it said so at once")
            await eventually("it is forgotten, too") { server.streams.count == 0 }
        }
    }

    @Test func `HEAD is the head alone`() async throws {
        try await Self.with { server in
            let http = try HTTPConnection(port: server.port)
            let head = try await http.request("HEAD", "/events")
            #expect(head.status == 200 && head["content-type"] == "text/event-stream")
            #expect(head["content-length"] == nil && head["cache-control"] == "no-store")
            #expect(try await http.closes())
            #expect(await http.unread == "", "nothing follows")
            #expect(server.streams.count == 0)
        }
    }

    @Test func `a graceful end ends streams at once, in good order`() async throws {
        var limits = HTTPLimits()
        limits.grace = .seconds(60)
        try await Self.with(limits) { server in
            let pages = [try await server.open(), try await server.open(version: "1.0")]
            for page in pages { _ = try await page.next() }
            server.publish("last")
            await server.shutDown()
            for page in pages {
                #expect(try await page.next() == EventSource.Event("c", "last"))
                #expect(try await page.closes())
                #expect(await page.isFinished)
            }
            try await server.ended()
        }
    }

    @Test func `a second signal cuts them`() async throws {
        try await Self.with { server in
            let page = try await server.open()
            _ = try await page.next()
            server.cut()
            #expect(try await page.closes())
            try? await server.ended()
            await eventually("they are forgotten") { server.streams.count == 0 }
        }
    }
}
