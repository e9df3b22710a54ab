import IPCWire
import NIOCore

/// What a client sends: the decoder, the parsing of requests, and what is answered to what can't be parsed.
enum FuzzCommands {
    static func check(_ bytes: ByteBuffer, pieces size: Int, _ limits: WireLimits) {
        let whole = decode([bytes], limits)
        let split = decode(bytes.pieces(of: size), limits)
        precondition(whole.frames == split.frames && whole.error == split.error, "the pieces matter")
        for arguments in whole.frames {
            precondition(!arguments.isEmpty && arguments.count <= limits.frameElements)
            precondition(arguments.allSatisfy { $0.readableBytes <= limits.frameBytes })
            parse(arguments, limits)
        }
        if let error = whole.error { checkLine { $0.error(code: "ERR", message: error.description) } }
    }

    private static func decode(_ chunks: [ByteBuffer], _ limits: WireLimits) -> Outcome<[ByteBuffer]> {
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
            precondition(later.frames.isEmpty && later.error == error)
        }
        return outcome
    }

    private static func parse(_ arguments: [ByteBuffer], _ limits: WireLimits) {
        do throws(ReplyError) {
            let request = try Request.parse(arguments, limits: limits)
            var writer = RESPWriter(version: .v3)
            request.encode(into: &writer)
            let again = decode([writer.buffer], WireLimits())
            precondition(again.error == nil && again.frames.count == 1)
            let second = try Request.parse(again.frames[0], limits: WireLimits())
            precondition(second == request, "a request is not read as it is written")
        } catch {
            checkLine { Reply.error(error).encode(into: &$0) }
        }
    }

    /// An error is one line of printable ASCII, whatever it speaks of.
    private static func checkLine(_ encode: (inout RESPWriter) -> Void) {
        var writer = RESPWriter(version: .v2)
        encode(&writer)
        let line = writer.buffer.readableBytesView
        precondition(line.first == UInt8(ascii: "-") && line.suffix(2).elementsEqual([13, 10]))
        precondition(line.dropLast(2).allSatisfy { (0x20...0x7e).contains($0) })
    }
}
