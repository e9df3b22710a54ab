import IPCWire
import NIOCore
import SyncCore

// An entry's body in the stream and on the log channel: a RESP array of origin, nonce, event channel or nothing, tags.
extension LogEntryBody {
    func encoded() -> ByteBuffer {
        var writer = RESPWriter(version: .v2)
        writer.arrayHeader(3 + tags.count)
        writer.bulkString(String(origin))
        writer.bulkString(String(nonce))
        writer.bulkString(eventChannel ?? ByteBuffer())
        for tag in tags { writer.bulkString(tag) }
        return writer.buffer
    }

    /// The tags alone, in the same form.
    func encodedTags() -> ByteBuffer {
        var writer = RESPWriter(version: .v2)
        writer.arrayHeader(tags.count)
        for tag in tags { writer.bulkString(tag) }
        return writer.buffer
    }

    /// `nil` for anything that `encoded()` does not make.
    init?(encoded bytes: ByteBuffer) {
        var decoder = CommandDecoder(limits: WireLimits())
        decoder.feed(bytes)
        guard let parts = try? decoder.next(), parts.count >= 4,
            let origin = RedisNumber.canonical(parts[0]), let nonce = RedisNumber.canonical(parts[1]),
            Self.encodedBytes(parts) == bytes.readableBytes
        else { return nil }
        self.init(
            origin: origin, nonce: nonce, eventChannel: parts[2].readableBytes == 0 ? nil : parts[2].compacted,
            tags: parts.dropFirst(3).map(\.compacted))
    }

    /// The decoder takes each frame in one form only: what is no longer than its parts has nothing behind them.
    private static func encodedBytes(_ parts: [ByteBuffer]) -> Int {
        func header(_ number: Int) -> Int {
            var (rest, bytes) = (number, 4)
            while rest >= 10 { (rest, bytes) = (rest / 10, bytes + 1) }
            return bytes
        }
        return parts.reduce(header(parts.count)) { $0 + header($1.readableBytes) + $1.readableBytes + 2 }
    }
}

extension LogEntry {
    /// From a message on the log channel: `<incarnation> <position> <body>`.
    static func decode(published message: ByteBuffer) -> (Incarnation, LogEntry)? {
        var rest = message
        guard let head = rest.readSlice(length: 32), let incarnation = Incarnation(head),
            rest.readInteger(as: UInt8.self) == UInt8(ascii: " "),
            let space = rest.readableBytesView.firstIndex(of: UInt8(ascii: " ")),
            let digits = rest.readSlice(length: space - rest.readerIndex),
            let position = RedisNumber.position(digits), position > 0
        else { return nil }
        rest.moveReaderIndex(forwardBy: 1)
        guard let body = LogEntryBody(encoded: rest.slice()) else { return nil }
        return (incarnation, LogEntry(position: position, body: body))
    }
}

/// Numbers as they are kept in Redis.
enum RedisNumber {
    /// Plain decimal digits, at most 2^53.
    static func position(_ text: ByteBuffer) -> UInt64? {
        guard let number = digits(text), number <= WireLimits.maximumNumber else { return nil }
        return number
    }

    /// Digits as `String` writes a number.
    static func canonical(_ text: ByteBuffer) -> UInt64? {
        guard (1...20).contains(text.readableBytes) else { return nil }
        return text.withUnsafeReadableBytes { bytes in
            guard bytes[0] != 0x30 || bytes.count == 1 else { return nil }
            var number: UInt64 = 0
            for byte in bytes {
                guard (0x30...0x39).contains(byte) else { return nil }
                let (product, overflow) = number.multipliedReportingOverflow(by: 10)
                let (sum, carry) = product.addingReportingOverflow(UInt64(byte - 0x30))
                guard !overflow, !carry else { return nil }
                number = sum
            }
            return number
        }
    }

    /// 1 to 16 decimal digits.
    static func digits(_ text: ByteBuffer) -> UInt64? {
        guard (1...16).contains(text.readableBytes) else { return nil }
        return text.withUnsafeReadableBytes { bytes in
            var number: UInt64 = 0
            for byte in bytes {
                guard (0x30...0x39).contains(byte) else { return nil }
                number = number * 10 + UInt64(byte - 0x30)
            }
            return number
        }
    }

    /// The position in a stream id of the form `<position>-0`.
    static func streamID(_ text: ByteBuffer) -> UInt64? {
        guard text.readableBytes > 2, let head = text.getSlice(at: text.readerIndex, length: text.readableBytes - 2),
            text.getString(at: text.readerIndex + head.readableBytes, length: 2) == "-0"
        else { return nil }
        return position(head)
    }
}
