import CHiredis
import IPCTesting
import NIOCore
import Testing

@testable import IPCWire

/// Our decoder of replies and hiredis' must agree about RESP2: frame by frame, and about what is none.
@Suite struct HiredisTests {
    /// Only the types of RESP2: hiredis 0.14 knows no others.
    private static let types = Set("+-:$*".utf8)

    @Test func `both are fed what is RESP2`() {
        let compared = ReplyCorpus.items.count { item in
            item.bytes.first.map(Self.types.contains) == true && !Self.isKnownToDiffer(item.bytes)
        }
        #expect(compared > 80)
    }

    @Test(arguments: ReplyCorpus.items) func `the corpus`(item: CorpusItem) throws {
        guard let first = item.bytes.first, Self.types.contains(first), !item.bytes.contains(UInt8(ascii: "|")),
            !Self.isKnownToDiffer(item.bytes)
        else { return }
        try compare(item.bytes)
    }

    /// Replies made up of everything that RESP2 has, whole and damaged in one place.
    @Test(arguments: 0..<400) func `made up`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var bytes: [UInt8] = []
        for _ in 0..<Int.random(in: 1...4, using: &random) { Self.append(to: &bytes, depth: 0, &random) }
        try compare(bytes)
        #expect(RESPDecoder.decode(bytes).last?.hasPrefix("!") == false)
        for _ in 0..<20 {
            var damaged = bytes
            let index = Int.random(in: 0..<bytes.count, using: &random)
            switch Int.random(in: 0..<3, using: &random) {
            case 0: damaged[index] = UInt8(ascii: "0") + UInt8.random(in: 0...9, using: &random)
            case 1: damaged.remove(at: index)
            default: damaged = Array(damaged[..<index])
            }
            guard !Self.isKnownToDiffer(damaged) else { continue }
            try compare(damaged)
        }
    }

    @Test func `both write a command alike`() throws {
        let arguments = [
            ByteBuffer(string: "SET"), ByteBuffer(bytes: [0, 13, 10, 255]), ByteBuffer(),
            ByteBuffer(repeating: 7, count: 100_000),
        ]
        var writer = RESPWriter(version: .v2)
        writer.arrayHeader(arguments.count)
        for argument in arguments { writer.bulkString(argument) }
        #expect(writer.buffer == Hiredis.command(arguments))
        var decoder = CommandDecoder(limits: WireLimits())
        decoder.feed(writer.buffer)
        #expect(try decoder.next() == arguments)
        #expect(try decoder.next() == nil)
    }

    private func compare(_ bytes: [UInt8], sourceLocation: SourceLocation = #_sourceLocation) throws {
        let ours = RESPDecoder.decode(bytes)
        let theirs = try Hiredis.decode(bytes)
        // Both say what they had before the error; the texts of errors differ.
        #expect(
            ours.map { $0.hasPrefix("!") ? "!" : $0 } == theirs, "\(ByteBuffer(bytes: bytes).escaped)",
            sourceLocation: sourceLocation)
    }

    /// Where we are stricter, on purpose, or hiredis is older than what it reads:
    /// line ends that are not CR LF exactly (hiredis looks for CR LF and takes lone ones for data), the two bytes
    /// after a string (it skips them unseen), lengths beyond our limits, types of RESP3 inside arrays, and nested
    /// aggregates beyond seven.
    private static func isKnownToDiffer(_ bytes: [UInt8]) -> Bool {
        let verdict = RESPDecoder.decode(bytes).last ?? ""
        if verdict == "!\(RESPError.invalidLength)", hasLongLength(bytes) { return true }
        let ours: [RESPError] = [.invalidLineEnd, .lineTooLong, .unknownType, .streamedType]
        if ours.contains(where: { verdict == "!\($0)" }) { return true }
        return verdict.hasPrefix("!frame larger") || verdict.hasPrefix("!more than") || verdict.hasPrefix("!nested")
    }

    /// Whether there is a length of more digits than we read: hiredis waits for that number of bytes.
    private static func hasLongLength(_ bytes: [UInt8]) -> Bool {
        bytes.indices.contains { index in
            (bytes[index] == UInt8(ascii: "$") || bytes[index] == UInt8(ascii: "*"))
                && bytes[(index + 1)...].prefix { (0x30...0x39).contains($0) }.count >= PlainNumber.maximumDigits
        }
    }

    private static func append(to bytes: inout [UInt8], depth: Int, _ random: inout SeededRandom) {
        func text(_ random: inout SeededRandom) -> [UInt8] {
            (0..<Int.random(in: 0...12, using: &random)).map { _ in UInt8.random(in: 32...126, using: &random) }
        }
        switch Int.random(in: 0..<(depth < 6 ? 8 : 6), using: &random) {
        case 0: bytes += [0x2b] + text(&random) + [13, 10]
        case 1: bytes += Array("-ERR ") + text(&random) + [13, 10]
        case 2: bytes += Array(":\(Int64.random(in: .min ... .max, using: &random))\r\n")
        case 3: bytes += Array("$-1\r\n")
        case 4: bytes += Array("*-1\r\n")
        case 5:
            let value = (0..<Int.random(in: 0...20, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            bytes += Array("$\(value.count)\r\n") + value + [13, 10]
        default:
            let count = Int.random(in: 0...3, using: &random)
            bytes += Array("*\(count)\r\n")
            for _ in 0..<count { append(to: &bytes, depth: depth + 1, &random) }
        }
    }
}

/// hiredis' reader, made to speak as `Decoded.swift` does.
private enum Hiredis {
    struct NoMemory: Error {}

    static func decode(_ bytes: [UInt8]) throws -> [String] {
        guard let reader = redisReaderCreate() else { throw NoMemory() }
        defer { redisReaderFree(reader) }
        var shown: [String] = []
        let isFed = bytes.withUnsafeBytes {
            redisReaderFeed(reader, $0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count) == REDIS_OK
        }
        guard isFed else { throw NoMemory() }
        while true {
            var reply: UnsafeMutableRawPointer?
            guard redisReaderGetReply(reader, &reply) == REDIS_OK else { return shown + ["!"] }
            guard let reply else { return shown }
            shown.append(value(reply.assumingMemoryBound(to: redisReply.self)).shown)
            freeReplyObject(reply)
        }
    }

    static func command(_ arguments: [ByteBuffer]) -> ByteBuffer? {
        // hiredis takes pointers that must all be valid at once.
        let copies = arguments.map { argument in
            let copy = UnsafeMutablePointer<CChar>.allocate(capacity: argument.readableBytes + 1)
            for (place, byte) in argument.readableBytesView.enumerated() { copy[place] = CChar(bitPattern: byte) }
            return copy
        }
        defer { for copy in copies { copy.deallocate() } }
        var pointers = copies.map { UnsafePointer<CChar>?($0) }
        var lengths = arguments.map(\.readableBytes)
        var target: UnsafeMutablePointer<CChar>?
        let count = Int(redisFormatCommandArgv(&target, CInt(arguments.count), &pointers, &lengths))
        guard let target, count > 0 else { return nil }
        defer { redisFreeCommand(target) }
        return ByteBuffer(bytes: UnsafeRawBufferPointer(start: target, count: count))
    }

    private static func value(_ reply: UnsafeMutablePointer<redisReply>) -> RESPValue {
        func bytes() -> ByteBuffer {
            ByteBuffer(bytes: UnsafeRawBufferPointer(start: reply.pointee.str, count: Int(reply.pointee.len)))
        }
        switch reply.pointee.type {
        case REDIS_REPLY_STRING: return .bulkString(bytes())
        case REDIS_REPLY_STATUS: return .simpleString(bytes())
        case REDIS_REPLY_ERROR: return .error(bytes())
        case REDIS_REPLY_INTEGER: return .integer(reply.pointee.integer)
        case REDIS_REPLY_ARRAY:
            return .array((0..<Int(reply.pointee.elements)).map { reply.pointee.element[$0].map(value) ?? .null })
        default: return .null
        }
    }
}
