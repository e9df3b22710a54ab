import Logging
import NIOCore
import NIOPosix
import TestSupport
import Testing

@testable import syncd

@Suite struct RedisLinkTests {
    @Test func `a pause between two tries ends when another connection has found the server`() async throws {
        let directory = try TemporaryDirectory()
        let endpoint = try RedisEndpoint.parse("unix://\(directory.file("nobody-listens"))")
        let eventLoop = MultiThreadedEventLoopGroup.singleton.any()
        let isInTime = try await eventLoop.flatSubmit {
            let loop = eventLoop.assumeIsolated()
            let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
            let link = RedisLink(
                endpoint: endpoint, connector: RedisConnector(for: endpoint, eventLoop: eventLoop, logger: logger),
                clientName: "test", logger: logger)
            let isInTime = eventLoop.makePromise(of: Bool.self)
            var losses = 0
            link.onLost = { _ in
                losses += 1
                guard losses >= 4 else { return }
                // By itself it would try again after 200 to 400 ms, and then after 400 to 800: to be called again and
                // again, by a connection that the server drops each time, changes nothing about the latter.
                loop.execute { link.tryNow() }
                guard losses == 4 else { return }
                loop.scheduleTask(in: .milliseconds(190)) {
                    isInTime.succeed(losses == 5)
                    link.stop()
                }
            }
            link.start()
            return isInTime.futureResult
        }.get()
        #expect(isInTime)
    }
}
