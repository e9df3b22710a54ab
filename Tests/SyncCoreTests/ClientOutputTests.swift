import IPCWire
import NIOCore
import TestSupport
import Testing

@testable import SyncCore

/// The pending output of one client is bounded within a turn, too.
@Suite struct ClientOutputTests {
    private static let mebibyte = ByteBuffer(repeating: UInt8(ascii: "v"), count: 1 << 20)

    @Test func `what nobody reads is not even written down`() {
        let limits = Limits()
        let output = ClientOutput(limits: limits)
        let hit = Hit(value: Self.mebibyte, asOf: 1, ttlMilliseconds: 1, tags: [], epoch: 1)
        let requests = (0..<500).map { _ in output.open() }
        for request in requests { output.reply(request, .fetched(.hit(hit))) }
        for ticket in 0..<500 { output.push(.fetched(ticket: UInt64(ticket), .hit(hit))) }
        #expect(output.unsentBytes > limits.unsentBytes && output.unsentBytes < limits.unsentBytes + (2 << 20))
        guard case .close = output.flush().action else {
            Issue.record("it stays")
            return
        }
    }

    /// The time is that of the client which asked, and the memory counts.
    @Test func `a reply with many parts that waits for an earlier one is encoded at once`() {
        let output = ClientOutput(limits: Limits())
        let (first, second) = (output.open(), output.open())
        let fields = (0..<1000).map { StatusField("name-\($0)", .text("value")) }
        output.reply(second, .fields(fields))
        let bytes = output.unsentBytes
        #expect(bytes > 1000 * 20)
        output.reply(first, .integer(1))
        #expect(output.unsentBytes < bytes, "nothing but the short reply is new")
        guard case .write(let buffer) = output.flush().action else {
            Issue.record("nothing to write")
            return
        }
        #expect(String(buffer: buffer).hasPrefix(":1\r\n*2000\r\n$6\r\nname-0\r\n"))
    }

    @Test func `a reply that waits is in the protocol version that its place in the order asks for`() {
        let output = ClientOutput(limits: Limits())
        let ids = (0..<6).map { _ in output.open() }
        let greeting = Greeting(
            version: "1", proto: .v3, clientID: 1, epoch: 1, incarnation: "-", applied: 0, state: .attached,
            logMode: .embedded, table: "/t", journal: "/j", trustWindowMilliseconds: 1000)
        let fields = Reply.fields([StatusField("a", .null)])
        output.reply(ids[2], .greeting(greeting))
        output.reply(ids[3], fields)
        output.reply(ids[4], .simple(.reset))
        output.reply(ids[5], fields)
        output.reply(ids[1], fields)
        output.reply(ids[0], .ok)
        guard case .write(let buffer) = output.flush().action else {
            Issue.record("nothing to write")
            return
        }
        let text = String(buffer: buffer)
        #expect(text.hasPrefix("+OK\r\n*2\r\n$1\r\na\r\n$-1\r\n%"))
        #expect(text.hasSuffix("%1\r\n$1\r\na\r\n_\r\n+RESET\r\n*2\r\n$1\r\na\r\n$-1\r\n"))
    }

    @Test func `replies that wait hold back further requests, and count in the budget`() {
        let budget = BufferBudget(limit: 100 << 20)
        let output = ClientOutput(limits: Limits(), budget: budget)
        let ids = (0..<3).map { _ in output.open() }
        output.reply(ids[1], .bulk(Self.mebibyte))
        _ = output.flush()
        #expect(!output.hasRoomForRequest)
        #expect(budget.used > 1 << 20)
        output.discard()
        #expect(budget.used == 0)
    }

    /// Replies that wait are counted as longer than they may turn out to be.
    @Test func `output that was dropped is followed by nothing, also when less is unsent at the end of the turn`() {
        var limits = Limits()
        limits.unsentBytes = 640
        let output = ClientOutput(limits: limits)
        let ids = (0..<12).map { _ in output.open() }
        for id in ids.dropFirst(2) { output.reply(id, .ok) }
        output.reply(ids[0], .integer(1))
        output.reply(ids[1], .ok)
        #expect(output.unsentBytes < limits.unsentBytes)
        guard case .close = output.flush().action else {
            Issue.record("a reply is missing, and the client does not know")
            return
        }
    }

    /// A client that reads, however much others invalidate at once, loses pushes and not the connection.
    @Test func `many pushes of one turn collapse`() {
        let limits = Limits()
        let output = ClientOutput(limits: limits)
        output.push(.epoch(1, reason: .tracking))
        for _ in 0..<500 { output.push(encoded: Self.mebibyte) }
        #expect(output.unsentBytes < 4 << 20)
        let flushed = output.flush()
        guard case .write(let buffer) = flushed.action else {
            Issue.record("nothing to write")
            return
        }
        #expect(flushed.hasCollapsed)
        #expect(output.flush().hasCollapsed == false, "said once")
        #expect(output.sent(buffer.readableBytes) == .pushEpoch)
    }

    /// A buffer for each of them would cost a hundred times their bytes.
    @Test func `what a client does not read is collected, and all of its memory counts`() throws {
        let budget = BufferBudget(limit: 100 << 20)
        let output = ClientOutput(limits: Limits(), budget: budget)
        func flushed() -> ByteBuffer? { if case .write(let buffer) = output.flush().action { buffer } else { nil } }
        let push = ByteBuffer(string: ">1\r\n:1\r\n")
        output.push(encoded: push)
        let first = try #require(flushed())
        for _ in 0..<10_000 {
            output.push(encoded: push)
            #expect(flushed() == nil)
        }
        #expect(budget.used >= 10_000 * push.readableBytes && budget.used < 1 << 20)
        #expect(output.sent(first.readableBytes) == .flush)
        let rest = try #require(flushed())
        #expect(rest.readableBytes == 10_000 * push.readableBytes)
        #expect(output.sent(rest.readableBytes) == .nothing)
        #expect(budget.used == 0)
    }

    @Test func `pushes that waited apart follow those that were written before them`() throws {
        var limits = Limits()
        limits.comfortableBytes = 100
        let output = ClientOutput(limits: limits)
        output.push(encoded: ByteBuffer(string: "a"))
        guard case .write(let first) = output.flush().action else { throw TestFailure("nothing to write") }
        output.push(encoded: ByteBuffer(repeating: UInt8(ascii: "b"), count: 100))
        output.push(encoded: ByteBuffer(string: "c"))
        let request = output.open()
        output.reply(request, .integer(1))
        #expect(output.flush().action == .nothing)
        #expect(output.sent(first.readableBytes) == .flush)
        guard case .write(let rest) = output.flush().action else { throw TestFailure("nothing to write") }
        #expect(String(buffer: rest) == String(repeating: "b", count: 100) + ":1\r\nc")
    }
}
