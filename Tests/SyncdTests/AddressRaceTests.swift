import NIOCore
import NIOEmbedded
import NIOPosix
import Testing

@testable import syncd

@Suite struct AddressRaceTests {
    private let loop = EmbeddedEventLoop()
    private let tries = Tries()
    private let addresses: [SocketAddress]

    init() throws { addresses = try (1...3).map { try SocketAddress(ipAddress: "10.0.0.\($0)", port: 6379) } }

    private func start(_ addresses: [SocketAddress]? = nil) -> (race: AddressRace, end: End) {
        let race = AddressRace(eventLoop: loop, addresses: addresses ?? self.addresses) { [loop, tries] address in
            let promise = loop.makePromise(of: (any Channel).self)
            tries.promises.append((address, promise))
            return promise.futureResult
        }
        let end = End()
        race.run { end.outcomes.append($0) }
        return (race, end)
    }

    private func fail(_ index: Int, _ code: CInt = ECONNREFUSED) {
        answer(index, .failure(IOError(errnoCode: code, reason: "connect")))
    }

    private func succeed(_ index: Int, _ channel: EmbeddedChannel? = nil) {
        answer(index, .success(channel ?? EmbeddedChannel(loop: loop)))
    }

    private func answer(_ index: Int, _ result: Result<any Channel, any Error>) {
        guard index < tries.promises.count else {
            Issue.record("address \(index) has not been tried")
            return
        }
        tries.promises[index].promise.completeWith(result)
    }

    @Test func `an address that fails gives way to the next one at once`() {
        let (_, end) = start()
        #expect(tries.addresses == ["10.0.0.1"])
        fail(0)
        #expect(tries.addresses == ["10.0.0.1", "10.0.0.2"])
        succeed(1)
        loop.advanceTime(by: .seconds(1))
        #expect(end.channels == 1 && tries.addresses.count == 2)
    }

    @Test func `a silent address gives way after a quarter of a second, and goes on`() {
        let (_, end) = start()
        loop.advanceTime(by: .milliseconds(249))
        #expect(tries.addresses.count == 1)
        loop.advanceTime(by: .milliseconds(1))
        #expect(tries.addresses.count == 2)
        fail(1)
        #expect(tries.addresses.count == 3)
        fail(2)
        #expect(end.outcomes.isEmpty, "the first one may still answer")
        succeed(0)
        #expect(end.channels == 1)
    }

    @Test func `one connection is kept, the others are closed`() {
        let (_, end) = start()
        loop.advanceTime(by: .milliseconds(500))
        #expect(tries.addresses.count == 3)
        let channels = (0..<2).map { _ in EmbeddedChannel(loop: loop) }
        let closed = Closed()
        for (index, channel) in channels.enumerated() {
            channel.closeFuture.assumeIsolated().whenComplete { _ in closed.indices.append(index) }
        }
        succeed(2, channels[0])
        succeed(0, channels[1])
        loop.run()
        #expect(end.channels == 1)
        #expect(closed.indices == [1])
        fail(1)
        #expect(end.outcomes.count == 1)
    }

    @Test func `when none answers, the reason of each is told`() {
        let (_, end) = start()
        fail(0, ENETUNREACH)
        fail(1)
        answer(2, .failure(ChannelError.connectTimeout(.seconds(1))))
        guard case .failed(let failures) = end.outcomes.first else {
            Issue.record("\(end.outcomes)")
            return
        }
        #expect(
            ConnectionLoss(connecting: failures, to: "redis:6379").reason
                == "cannot connect to redis:6379: 10.0.0.1: Network is unreachable; 10.0.0.2: Connection refused; "
                + "10.0.0.3: no answer within 1 s: is the address right, and the network up?")
        guard failures.count == 3 else {
            Issue.record("\(failures)")
            return
        }
        #expect(
            ConnectionLoss(connecting: [failures[1]], to: "redis:6379").reason
                == "cannot connect to redis:6379: Connection refused")
    }

    @Test func `a race that is cancelled tries no further address`() {
        let (race, end) = start()
        race.cancel()
        loop.advanceTime(by: .seconds(1))
        fail(0)
        #expect(tries.addresses.count == 1 && end.outcomes.isEmpty)
    }

    @Test func `of very many addresses the first 16 are tried`() throws {
        let many = try (1...40).map { try SocketAddress(ipAddress: "10.0.1.\($0)", port: 6379) }
        let (_, end) = start(many)
        for index in 0..<16 { fail(index) }
        #expect(tries.addresses == many.prefix(16).map(\.ipAddress))
        #expect(end.outcomes.count == 1)
    }

    @Test func `the families of addresses take turns`() throws {
        let texts = ["::1", "::2", "::3", "10.0.0.1"]
        let addresses = try texts.map { try SocketAddress(ipAddress: $0, port: 1) }
        #expect(NameLookup.alternating(addresses).map(\.ipAddress) == ["::1", "10.0.0.1", "::2", "::3"])
        #expect(NameLookup.alternating([]).isEmpty)
    }
}

private final class Tries {
    var promises: [(address: SocketAddress, promise: EventLoopPromise<any Channel>)] = []
    var addresses: [String?] { promises.map(\.address.ipAddress) }

    /// A promise that is left open would end the process.
    deinit { for (_, promise) in promises { promise.fail(ChannelError.eof) } }
}

private final class Closed {
    var indices: [Int] = []
}

private final class End {
    var outcomes: [AddressRace.Outcome] = []
    var channels: Int {
        outcomes.count { if case .connected = $0 { true } else { false } }
    }
}
