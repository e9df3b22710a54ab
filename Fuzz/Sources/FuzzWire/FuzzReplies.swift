import IPCWire
import NIOCore

/// What syncd, or something in its place, sends: the decoder, and everything that a client reads out of a frame.
enum FuzzReplies {
    static func check(_ bytes: ByteBuffer, pieces size: Int, _ limits: WireLimits) {
        let whole = decode([bytes], limits)
        let split = decode(bytes.pieces(of: size), limits)
        // Compared as text: a NaN is not equal to itself.
        precondition("\(whole)" == "\(split)", "the pieces matter")
        for value in whole.frames {
            precondition(depth(of: value) <= limits.nestingDepth && elements(of: value) <= limits.frameElements)
            read(value)
        }
    }

    private static func decode(_ chunks: [ByteBuffer], _ limits: WireLimits) -> Outcome<RESPValue> {
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
            precondition(later.frames.isEmpty && later.error == error)
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

    /// What can be read is written and read again, and is the same.
    private static func read(_ value: RESPValue) {
        if let reply = try? FetchReply(value) {
            switch reply {
            case .outcome(let outcome):
                let again = try? FetchReply(written { Reply.fetched(outcome).encode(into: &$0) })
                precondition(again == reply)
            case .wait(let ticket):
                let again = try? FetchReply(written { Reply.wait(ticket: ticket).encode(into: &$0) })
                precondition(again == reply)
            case .error(let error): _ = written { Reply.error(error).encode(into: &$0) }
            }
        }
        if let push = try? Push.decode(value) {
            let again = try? Push.decode(written { push.encode(into: &$0) })
            precondition(again == push)
        }
        if let greeting = try? Greeting(value) {
            let again = try? Greeting(written { Reply.greeting(greeting).encode(into: &$0) })
            precondition(again == greeting)
        }
        if let fields = try? StatusField.decode(value) {
            precondition((try? StatusField.decode(written { Reply.fields(fields).encode(into: &$0) })) != nil)
        }
    }

    private static func written(_ encode: (inout RESPWriter) -> Void) -> RESPValue {
        var writer = RESPWriter(version: .v3)
        encode(&writer)
        let outcome = decode([writer.buffer], WireLimits())
        precondition(outcome.error == nil && outcome.frames.count == 1, "what we write is one frame")
        return outcome.frames[0]
    }
}
