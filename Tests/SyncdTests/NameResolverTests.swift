import Logging
import NIOCore
import NIOEmbedded
import Testing

@testable import syncd

@Suite struct NameResolverTests {
    private let loop = EmbeddedEventLoop()
    private let lookups = ManualLookups()
    private let log = LogLines()
    private let resolver: NameResolver
    private let first: [SocketAddress]
    private let second: [SocketAddress]

    init() throws {
        let log = log
        let logger = Logger(label: "test", factory: { _ in log })
        resolver = NameResolver(eventLoop: loop, logger: logger, start: lookups.start)
        first = [try SocketAddress(ipAddress: "10.0.0.1", port: 0)]
        second = [try SocketAddress(ipAddress: "10.0.0.2", port: 0), try SocketAddress(ipAddress: "::1", port: 0)]
    }

    private static let unknown = NameLookup.Outcome.failure(LookupFailure(isDefinite: false, text: "no server"))
    private static let absent = NameLookup.Outcome.failure(LookupFailure(isDefinite: true, text: "not known"))

    /// Asks; the answer is in what is returned when it has come.
    private func ask(_ name: String = "redis") -> Answer {
        let answer = Answer()
        answer.cancel = resolver.addresses(of: name) { answer.result = $0 }
        return answer
    }

    private func find(_ outcome: NameLookup.Outcome, _ name: String = "redis") {
        lookups.end(name, outcome)
        loop.run()
    }

    @Test func `all who ask share one lookup, and its result counts whenever it comes`() {
        var answers: [Answer] = []
        for _ in 0..<100 {
            answers.append(ask())
            loop.advanceTime(by: .milliseconds(300))
        }
        #expect(lookups.started == ["redis"])
        #expect(answers.allSatisfy { $0.result == nil })
        find(.success(first))
        #expect(answers.allSatisfy { $0.result == .success(first) })
    }

    @Test func `names are looked up side by side`() {
        let answers = [ask("a"), ask("b")]
        #expect(lookups.started == ["a", "b"])
        find(.success(second), "b")
        #expect(answers[0].result == nil)
        #expect(answers[1].result == .success(second))
    }

    @Test func `a result that nobody waits for serves the next one who asks`() {
        let gone = ask()
        gone.cancel()
        loop.advanceTime(by: .seconds(30))
        find(.success(first))
        #expect(gone.result == nil)
        loop.advanceTime(by: .milliseconds(1999))
        #expect(ask().result == .success(first))
        #expect(lookups.started.count == 1)
        loop.advanceTime(by: .milliseconds(1))
        #expect(ask().result == nil)
        #expect(lookups.started.count == 2)
    }

    @Test func `a slow lookup is told, and the last addresses are used meanwhile`() {
        _ = ask()
        loop.advanceTime(by: .milliseconds(999))
        #expect(log.lines.isEmpty && resolver.warnings.isEmpty)
        loop.advanceTime(by: .milliseconds(1))
        #expect(log.lines == ["waiting for the lookup of a name: check the name servers (/etc/resolv.conf)"])
        loop.advanceTime(by: .seconds(9))
        #expect(resolver.warnings.first?.contains("the name redis has not answered for 10 s") == true)
        find(.success(first))
        #expect(log.lines.last == "a slow lookup has ended")
        #expect(resolver.warnings.isEmpty)

        loop.advanceTime(by: .seconds(60))
        let patient = ask()
        loop.advanceTime(by: .milliseconds(999))
        #expect(patient.result == nil)
        loop.advanceTime(by: .milliseconds(1))
        #expect(patient.result == .success(first))
        #expect(log.lines.last?.contains("its last addresses are used") == true)
        #expect(ask().result == .success(first), "at once, as the lookup is known to be slow")
        #expect(lookups.started.count == 2)
        find(.success(second))
        #expect(ask().result == .success(second))
    }

    @Test func `a lookup that fails leaves the last addresses, for a day`() {
        _ = ask()
        find(.success(first))
        for _ in 0..<3 {
            loop.advanceTime(by: .hours(7))
            let answer = ask()
            find(Self.unknown)
            #expect(answer.result == .success(first))
        }
        #expect(log.lines.count == 1, "told once: \(log.lines)")
        loop.advanceTime(by: .hours(3))
        let late = ask()
        find(Self.unknown)
        #expect(
            late.result
                == .failure(
                    ConnectionLoss(
                        "the name redis cannot be looked up (no server): check the name servers (/etc/resolv.conf)")))
    }

    @Test func `addresses in use do not age`() {
        _ = ask()
        find(.success(first))
        loop.advanceTime(by: .hours(1000))
        resolver.wasReached("redis")
        let answer = ask()
        find(Self.unknown)
        #expect(answer.result == .success(first))
    }

    @Test func `a name without addresses forgets those that it had`() {
        _ = ask()
        find(.success(first))
        loop.advanceTime(by: .seconds(3))
        let absent = ask()
        find(Self.absent)
        #expect(
            absent.result
                == .failure(
                    ConnectionLoss(
                        "the name redis has no address (not known): check its spelling (in REDIS_URL, or as sentinels or nodes announce it), DNS and /etc/hosts"
                    )))
        resolver.wasReached("redis")
        let unknown = ask()
        find(Self.unknown)
        guard case .failure = unknown.result else {
            Issue.record("\(String(describing: unknown.result))")
            return
        }
    }

    @Test func `sentinels that name ever new hosts do not fill the memory`() {
        for number in 0..<32 { _ = ask("host\(number)") }
        let refused = ask("host32")
        #expect(refused.result == .failure(ConnectionLoss("more than 32 names are being looked up")))
        #expect(lookups.started.count == 32)
        find(.success(first), "host7")
        let taken = ask("host32")
        #expect(lookups.started.last == "host32")
        find(.success(second), "host32")
        #expect(taken.result == .success(second))
    }
}

/// The result of a request.
private final class Answer {
    var result: Result<[SocketAddress], ConnectionLoss>?
    var cancel: () -> Void = {}
}

/// Lookups that end when the test says so.
private final class ManualLookups {
    private(set) var started: [String] = []
    private var underWay: [String: @Sendable (NameLookup.Outcome) -> Void] = [:]

    func start(_ name: String, _ completion: @escaping @Sendable (NameLookup.Outcome) -> Void) {
        started.append(name)
        #expect(underWay[name] == nil, "two lookups of \(name) at once")
        underWay[name] = completion
    }

    func end(_ name: String, _ outcome: NameLookup.Outcome) {
        guard let completion = underWay.removeValue(forKey: name) else {
            Issue.record("no lookup of \(name)")
            return
        }
        completion(outcome)
    }
}
