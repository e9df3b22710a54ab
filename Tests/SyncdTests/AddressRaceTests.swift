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

    private func start() -> (race: AddressRace, end: End) {
        let race = AddressRace(eventLoop: loop, addresses: addresses) { [loop, tries] address in
            let promise = loop.makePromise(of: (any Channel).self)
            tries.promises.append((address, promise))
            return promise.futureResult
        }
        let end = End()
        race.run { end.outcomes.append($0) }
        return (race, end)
    }

    private func fail(_ index: Int, _ code: CInt = ECONNREFUSED) {
        tries.promises[index].promise.fail(IOError(errnoCode: code, reason: "connect"))
    }

    @Test func `an address that fails gives way to the next one at once`() {
        let (_, end) = start()
        #expect(tries.addresses == ["10.0.0.1"])
        fail(0)
        #expect(tries.addresses == ["10.0.0.1", "10.0.0.2"])
        tries.promises[1].promise.succeed(EmbeddedChannel(loop: loop))
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
        tries.promises[0].promise.succeed(EmbeddedChannel(loop: loop))
        #expect(end.channels == 1)
    }

    @Test func `one connection is kept, the others are closed`() {
        let (_, end) = start()
        loop.advanceTime(by: .milliseconds(500))
        #expect(tries.addresses.count == 3)
        let channels = (0..<2).map { _ in EmbeddedChannel(loop: loop) }
        tries.promises[2].promise.succeed(channels[0])
        tries.promises[0].promise.succeed(channels[1])
        loop.run()
        #expect(end.channels == 1)
        #expect((try? channels[1].closeFuture.wait()) != nil)
        fail(1)
        #expect(end.outcomes.count == 1)
    }

    @Test func `when none answers, the reason of each is told`() {
        let (_, end) = start()
        fail(0, ENETUNREACH)
        fail(1)
        tries.promises[2].promise.fail(ChannelError.connectTimeout(.seconds(1)))
        guard case .failed(let failures) = end.outcomes.first else {
            Issue.record("\(end.outcomes)")
            return
        }
        #expect(
            ConnectionLoss(connecting: failures, to: "redis:6379").reason
                == "cannot connect to redis:6379: 10.0.0.1: Network is unreachable; 10.0.0.2: Connection refused; "
                + "10.0.0.3: no answer within 1 s: is the address right, and the network up?")
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
}

private final class End {
    var outcomes: [AddressRace.Outcome] = []
    var channels: Int {
        outcomes.count { if case .connected = $0 { true } else { false } }
    }
}
