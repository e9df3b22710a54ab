import Dispatch
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import ServiceLifecycle
import Synchronization
import TestSupport
import Testing

@testable import apiworker

/// A server of one test. `/slow` is answered when ``open()`` is called, `/body` when its body is there, `/at-once` and
/// `/large` in the turn in which they arrive.
final class RunningServer: Sendable {
    let port: Int
    private let group: ServiceGroup
    private let serving: Task<Void, any Error>
    private let gate: AsyncStream<Void>.Continuation
    private let entered: AsyncStream<Void>
    private let slow = Count()
    private let eventLoop = MultiThreadedEventLoopGroup.singleton.any()
    private let begun = Paths()
    private let cancelled = Paths()
    private let counted = Statuses()

    private final class Count: Sendable {
        let number = Mutex(0)
    }

    private final class Paths: Sendable {
        let list = Mutex<[String]>([])
    }

    private final class Statuses: Sendable {
        let list = Mutex<[Int]>([])
    }

    init(_ limits: HTTPLimits) async throws {
        let (ports, listening) = AsyncStream<Int>.makeStream()
        let (opened, gate) = AsyncStream<Void>.makeStream()
        let (entered, enter) = AsyncStream<Void>.makeStream()
        (self.gate, self.entered) = (gate, entered)
        let eventLoop = eventLoop
        let server = HTTPServer(
            address: .host("127.0.0.1", port: 0), limits: limits,
            connections: OpenConnections(limit: limits.connections), worker: WorkerIdentity(), eventLoop: eventLoop,
            logger: Logger(label: "test"),
            answering: Answering(
                begin: { [begun] request, _ in
                    begun.list.withLock { $0.append(request.path) }
                    return Self.begin(request)
                },
                respond: { [slow, cancelled] request in
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
                        if Task.isCancelled { cancelled.list.withLock { $0.append(request.path) } }
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
                    case .bodyTooLarge: APIError.bodyTooLarge.response
                    case .bodyMalformed: APIError.malformedRequest.response
                    case .busy: APIError.tooManyLongResponses.response
                    }
                },
                count: { [counted] _, response in
                    counted.list.withLock { $0.append(Int(response.status.code)) }
                }),
            onListening: { listening.yield($0) })
        group = ServiceGroup(services: [server], logger: Logger(label: "test"))
        serving = Task { [group] in try await group.run() }
        port = try #require(await ports.first { _ in true })
    }

    private static func begin(_ request: Request) -> Beginning {
        switch request.path {
        case "/body": request.hasBody(over: 10) ? .answered(APIError.bodyTooLarge.response) : .needsBody
        case "/at-once", "/1", "/2": .answered(path(request))
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
    /// The paths of all requests so far, in the order in which they were begun.
    var paths: [String] { begun.list.withLock { $0 } }

    /// The paths of requests whose work was cancelled.
    var cancelledPaths: [String] { cancelled.list.withLock { $0 } }
    /// The statuses of all responses so far, in the order in which they were known.
    var statuses: [Int] { counted.list.withLock { $0 } }

    /// Carries out `body` while the server does nothing.
    func whileItWaits(_ body: () async throws -> Void) async rethrows {
        let gate = DispatchSemaphore(value: 0)
        eventLoop.execute { gate.wait() }
        defer { gate.signal() }
        try await body()
    }

    func shutDown() async { await group.triggerGracefulShutdown() }
    func ended() async throws { try await serving.value }

    /// As a second signal does.
    func cut() { serving.cancel() }

    static func with(_ limits: HTTPLimits = HTTPLimits(), _ body: (RunningServer) async throws -> Void) async throws {
        let server = try await RunningServer(limits)
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

    /// A request for `/a`.
    static let get = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
}
