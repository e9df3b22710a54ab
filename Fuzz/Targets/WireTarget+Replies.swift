import IPCWire
import NIOCore

/// Output of syncd, or of an impostor: the decoder, and everything that a client reads from a frame.
extension WireTarget {
    static func checkReplies(_ bytes: ByteBuffer, pieces size: Int, _ limits: WireLimits) throws {
        let whole = try decode([bytes], limits)
        let split = try decode(bytes.pieces(of: size), limits)
        // Compared as text: a NaN is not equal to itself.
        try require("\(whole)" == "\(split)", "the pieces matter")
        for value in whole.frames {
            try require(
                depth(of: value) <= limits.nestingDepth && elements(of: value) <= limits.frameElements,
                "deeper or larger than allowed")
            try read(value)
        }
    }

    private static func decode(_ chunks: [ByteBuffer], _ limits: WireLimits) throws -> Outcome<RESPValue> {
        var decoder = RESPDecoder(limits: limits)
        var outcome = Outcome<RESPValue>()
        for chunk in chunks {
            decoder.feed(chunk)
            guard outcome.take({ () throws(RESPError) in try decoder.next() }) else { break }
        }
        if let error = outcome.error {
            decoder.feed(ByteBuffer(string: "+OK\r\n"))
            var later = Outcome<RESPValue>()
            _ = later.take { () throws(RESPError) in try decoder.next() }
            try require(later.frames.isEmpty && later.error == error, "an error is followed by \(later)")
        }
        return outcome
    }

    private static func parts(of value: RESPValue) -> [RESPValue]? {
        switch value {
        case .array(let parts), .map(let parts), .set(let parts), .push(let parts): parts
        default: nil
        }
    }

    private static func depth(of value: RESPValue) -> Int {
        guard let parts = parts(of: value) else { return 0 }
        return 1 + (parts.map(depth(of:)).max() ?? 0)
    }

    private static func elements(of value: RESPValue) -> Int {
        parts(of: value)?.reduce(0) { $0 + 1 + elements(of: $1) } ?? 0
    }

    /// A value that was read, written and read again is the same.
    private static func read(_ value: RESPValue) throws {
        if let reply = try? FetchReply(value) {
            switch reply {
            case .outcome(let outcome):
                let again = try FetchReply(written { Reply.fetched(outcome).encode(into: &$0) })
                try require(again == reply, "\(reply) is read as \(again)")
            case .wait(let ticket):
                let again = try FetchReply(written { Reply.wait(ticket: ticket).encode(into: &$0) })
                try require(again == reply, "\(reply) is read as \(again)")
            case .error(let error): _ = try written { Reply.error(error).encode(into: &$0) }
            }
        }
        if let push = try? Push.decode(value) {
            let again = try Push.decode(written { push.encode(into: &$0) })
            try require(again == push, "\(push) is read as \(String(describing: again))")
        }
        if let greeting = try? Greeting(value) {
            let again = try Greeting(written { Reply.greeting(greeting).encode(into: &$0) })
            try require(again == greeting, "\(greeting) is read as \(again)")
        }
        if let fields = try? StatusField.decode(value) {
            _ = try StatusField.decode(written { Reply.fields(fields).encode(into: &$0) })
        }
    }

    private static func written(_ encode: (inout RESPWriter) -> Void) throws -> RESPValue {
        var writer = RESPWriter(version: .v3)
        encode(&writer)
        let outcome = try decode([writer.buffer], WireLimits())
        try require(outcome.error == nil && outcome.frames.count == 1, "what we write is one frame")
        return outcome.frames[0]
    }
}
