import IPCWire
import NIOCore

/// Input of a client: the decoder, the parsing of requests, and the replies to malformed ones.
extension WireTarget {
    static func checkCommands(_ bytes: ByteBuffer, pieces size: Int, _ limits: WireLimits) throws {
        let whole = try decode([bytes], limits)
        let split = try decode(bytes.pieces(of: size), limits)
        try require(whole.frames == split.frames && whole.error == split.error, "the pieces matter")
        for arguments in whole.frames {
            try require(!arguments.isEmpty && arguments.count <= limits.frameElements, "\(arguments.count) arguments")
            try require(arguments.allSatisfy { $0.readableBytes <= limits.frameBytes }, "an argument is too long")
            try parse(arguments, limits)
        }
        if let error = whole.error { try checkLine { $0.error(code: "ERR", message: error.description) } }
    }

    private static func decode(_ chunks: [ByteBuffer], _ limits: WireLimits) throws -> Outcome<[ByteBuffer]> {
        var decoder = CommandDecoder(limits: limits)
        var outcome = Outcome<[ByteBuffer]>()
        for chunk in chunks {
            decoder.feed(chunk)
            guard outcome.take({ () throws(RESPError) in try decoder.next() }) else { break }
        }
        if let error = outcome.error {
            // Poisoned: whatever comes, the same error.
            decoder.feed(ByteBuffer(string: "*1\r\n$4\r\nPING\r\n"))
            var later = Outcome<[ByteBuffer]>()
            _ = later.take { () throws(RESPError) in try decoder.next() }
            try require(later.frames.isEmpty && later.error == error, "an error is followed by \(later)")
        }
        return outcome
    }

    private static func parse(_ arguments: [ByteBuffer], _ limits: WireLimits) throws {
        let request: Request
        do throws(ReplyError) {
            request = try Request.parse(arguments, limits: limits)
        } catch {
            return try checkLine { Reply.error(error).encode(into: &$0) }
        }
        var writer = RESPWriter(version: .v3)
        request.encode(into: &writer)
        let again = try decode([writer.buffer], WireLimits())
        try require(again.error == nil && again.frames.count == 1, "\(request) is written as \(again)")
        let second = try Request.parse(again.frames[0], limits: WireLimits())
        try require(second == request, "\(request) is read as \(second)")
    }

    /// An error is one line of printable ASCII, whatever it speaks of.
    private static func checkLine(_ encode: (inout RESPWriter) -> Void) throws {
        var writer = RESPWriter(version: .v2)
        encode(&writer)
        let line = writer.buffer.readableBytesView
        try require(line.first == UInt8(ascii: "-") && line.suffix(2).elementsEqual([13, 10]), "no line of an error")
        try require(line.dropLast(2).allSatisfy { (0x20...0x7e).contains($0) }, "not printable")
    }
}
