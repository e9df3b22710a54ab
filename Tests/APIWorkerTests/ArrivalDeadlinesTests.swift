import NIOCore
import Testing

@testable import apiworker

/// When a connection is cut, as a trace.
@Suite struct ArrivalDeadlinesTests {
    private static let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
    private static func at(_ seconds: Int64) -> NIODeadline { start + .seconds(seconds) }

    @Test func `10 s for a head and 10 s for a body, and trickling moves nothing`() {
        var deadlines = ArrivalDeadlines(limits: HTTPLimits())
        #expect(deadlines.next == nil && deadlines.phase == .idle)
        deadlines.bytesArrived(now: Self.at(0))
        #expect(deadlines.next == Self.at(10) && deadlines.phase == .head)
        deadlines.bytesArrived(now: Self.at(9))
        #expect(deadlines.next == Self.at(10))
        deadlines.headArrived(now: Self.at(9))
        #expect(deadlines.next == Self.at(19) && deadlines.phase == .body)
        deadlines.bytesArrived(now: Self.at(18))
        #expect(deadlines.next == Self.at(19))
        deadlines.requestCompleted()
        #expect(deadlines.next == nil && deadlines.phase == .idle)
        deadlines.bytesArrived(now: Self.at(30))
        #expect(deadlines.next == Self.at(40))
    }

    @Test(arguments: [(80, 40), (600, 344), (1024, 768), (4352, 4096), (1 << 20, 4096)])
    func `descriptors are kept for the database`(descriptors: Int, connections: Int) {
        let limits = HTTPLimits(idleSeconds: 5, descriptors: descriptors)
        #expect(limits.connections == connections && limits.idle == .seconds(5))
    }

    @Test func `75 s without a request`() {
        var deadlines = ArrivalDeadlines(limits: HTTPLimits())
        deadlines.becameIdle(now: Self.at(0))
        #expect(deadlines.next == Self.at(75) && deadlines.phase == .idle)
        deadlines.bytesArrived(now: Self.at(74))
        #expect(deadlines.next == Self.at(84))
    }

    @Test func `who takes a part of a response gets the whole time again`() {
        var deadlines = ArrivalDeadlines(limits: HTTPLimits())
        deadlines.partWritten(now: Self.at(0))
        #expect(deadlines.next == nil)
        deadlines.writabilityChanged(isWritable: false, now: Self.at(0))
        #expect(deadlines.next == Self.at(60) && !deadlines.isWriteOver(now: Self.at(59)))
        deadlines.partWritten(now: Self.at(50))
        #expect(deadlines.next == Self.at(110) && !deadlines.isWriteOver(now: Self.at(109)))
        #expect(deadlines.isWriteOver(now: Self.at(110)))
    }

    @Test func `60 s for a response that is not read, and the earlier of two deadlines`() {
        var deadlines = ArrivalDeadlines(limits: HTTPLimits())
        deadlines.writabilityChanged(isWritable: false, now: Self.at(0))
        #expect(deadlines.next == Self.at(60))
        deadlines.bytesArrived(now: Self.at(5))
        #expect(deadlines.next == Self.at(15))
        deadlines.requestCompleted()
        #expect(deadlines.next == Self.at(60))
        deadlines.bytesArrived(now: Self.at(55))
        #expect(deadlines.next == Self.at(60))
        deadlines.writabilityChanged(isWritable: true, now: Self.at(56))
        #expect(deadlines.next == Self.at(65))
    }
}
