import IPCWire
import NIOCore
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
}
