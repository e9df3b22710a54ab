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
            let origin = UInt64(String(buffer: parts[0])), let nonce = UInt64(String(buffer: parts[1]))
        else { return nil }
        self.init(
            origin: origin, nonce: nonce, eventChannel: parts[2].readableBytes == 0 ? nil : parts[2].compacted,
            tags: parts.dropFirst(3).map(\.compacted))
        guard encoded() == bytes else { return nil }
    }
}

extension LogEntry {
    /// From a message on the log channel: `<incarnation> <position> <body>`.
    static func decode(published message: ByteBuffer) -> (Incarnation, LogEntry)? {
        var rest = message
        guard let head = rest.readString(length: 32), let incarnation = Incarnation(head),
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
        guard (1...16).contains(text.readableBytes), text.readableBytesView.allSatisfy({ (0x30...0x39).contains($0) }),
            let number = UInt64(String(buffer: text)), number <= WireLimits.maximumNumber
        else { return nil }
        return number
    }

    /// The position in a stream id of the form `<position>-0`.
    static func streamID(_ text: ByteBuffer) -> UInt64? {
        guard text.readableBytes > 2, let head = text.getSlice(at: text.readerIndex, length: text.readableBytes - 2),
            text.getString(at: text.readerIndex + head.readableBytes, length: 2) == "-0"
        else { return nil }
        return position(head)
    }
}
