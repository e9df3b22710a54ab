import IPCWire
import NIOCore
import SyncCore

// The encoding of an entry's body in the stream and on the log channel: a RESP array of origin, nonce, event channel or
// an empty text, tags, and optionally a note.
extension LogEntryBody {
    func encoded() -> ByteBuffer {
        var writer = RESPWriter(version: .v2)
        writer.buffer.reserveCapacity(minimumWritableBytes: 128)
        let note = hasRoomForNote ? note : nil
        writer.arrayHeader(3 + tags.count + (note == nil ? 0 : 1))
        writer.bulkString(origin)
        writer.bulkString(nonce)
        writer.bulkString(eventChannel ?? ByteBuffer())
        for tag in tags { writer.bulkString(tag) }
        if let note { writer.bulkString(note) }
        return writer.buffer
    }

    /// The fields of the note, each a letter and a value, separated by spaces; `nil`: there is none.
    private var note: ByteBuffer? {
        if operationTime == nil, sentAt == nil { return nil }
        var note = ByteBuffer(bytes: Self.notePrefix)
        if let operationTime { note.writeString("t\(operationTime.seconds).\(operationTime.increment)") }
        if let sentAt { note.writeString("\(operationTime == nil ? "" : " ")s\(sentAt)") }
        return note
    }

    /// Takes the last element if it is a note. Fields of later versions are passed over.
    private mutating func takeNote() {
        guard tags.count > 1, let last = tags.last, last.readableBytesView.starts(with: Self.notePrefix) else { return }
        tags.removeLast()
        for field in last.readableBytesView.dropFirst(Self.notePrefix.count).split(separator: UInt8(ascii: " ")) {
            let value = ByteBuffer(bytes: field.dropFirst())
            switch field.first {
            case UInt8(ascii: "t"): operationTime = RedisNumber.operationTime(value)
            case UInt8(ascii: "s"): sentAt = RedisNumber.digits(value)
            default: break
            }
        }
    }

    /// The tags alone, in the same form.
    func encodedTags() -> ByteBuffer {
        var writer = RESPWriter(version: .v2)
        writer.arrayHeader(tags.count)
        for tag in tags { writer.bulkString(tag) }
        return writer.buffer
    }

    /// Size of the longest entry that a syncd appends, in bytes: four more texts, and the header of each.
    private static let maximumEncodedBytes = maximumBytes + (maximumTags + 4) * 16 + 64

    /// `nil` for anything that is not an output of `encoded()`, or that no syncd appends.
    init?(encoded bytes: ByteBuffer) {
        guard bytes.readableBytes <= Self.maximumEncodedBytes else { return nil }
        // A copy, because the entry may outlive its reply.
        let bytes = bytes.compacted
        guard let parts = Self.parts(of: bytes), parts.count >= 4,
            let origin = RedisNumber.canonical(parts[0]), let nonce = RedisNumber.canonical(parts[1])
        else { return nil }
        self.init(
            origin: origin, nonce: nonce, eventChannel: parts[2].readableBytes == 0 ? nil : parts[2],
            tags: Array(parts[3...]))
        takeNote()
        guard isAppendable else { return nil }
    }

    /// The bulk strings of an array that fills `bytes` completely, each header in its only form.
    private static func parts(of bytes: ByteBuffer) -> [ByteBuffer]? {
        var reader = HeaderReader(bytes)
        guard let count = reader.next(UInt8(ascii: "*")), count <= maximumTags + 3 else { return nil }
        var parts: [ByteBuffer] = []
        parts.reserveCapacity(count)
        for _ in 0..<count {
            guard let length = reader.next(UInt8(ascii: "$")), let part = reader.take(length) else { return nil }
            parts.append(part)
        }
        return reader.bytes.readableBytes == 0 ? parts : nil
    }
}

/// Reads the headers of frames that `RESPWriter` has written.
private struct HeaderReader {
    private(set) var bytes: ByteBuffer
    /// Maximum number of digits: a body has fewer bytes than a longer number.
    private static let maximumDigits = 9

    init(_ bytes: ByteBuffer) { self.bytes = bytes }

    /// The number of a header of this type.
    mutating func next(_ type: UInt8) -> Int? {
        let header: (number: Int, bytes: Int)? = bytes.withUnsafeReadableBytes { bytes in
            guard bytes.first == type else { return nil }
            var (number, index) = (0, 1)
            while index < bytes.count, (0x30...0x39).contains(bytes[index]), index <= Self.maximumDigits {
                number = number * 10 + Int(bytes[index] - 0x30)
                index += 1
            }
            guard index > 1, bytes[1] != 0x30 || index == 2, index + 1 < bytes.count, bytes[index] == 0x0d,
                bytes[index + 1] == 0x0a
            else { return nil }
            return (number, index + 2)
        }
        guard let header else { return nil }
        bytes.moveReaderIndex(forwardBy: header.bytes)
        return header.number
    }

    /// `length` bytes and the end of a line.
    mutating func take(_ length: Int) -> ByteBuffer? {
        guard let part = bytes.readSlice(length: length), bytes.readInteger(as: UInt16.self) == 0x0d0a else {
            return nil
        }
        return part
    }
}

extension LogEntry {
    /// Decodes a message on the log channel: `<incarnation> <position> <body>`.
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

/// The form of numbers in Redis.
enum RedisNumber {
    /// Plain decimal digits, at most 2^53.
    static func position(_ text: ByteBuffer) -> LogPosition? {
        guard let number = digits(text), number <= WireLimits.maximumNumber else { return nil }
        return LogPosition(number)
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

    /// `<seconds>.<increment>`.
    static func operationTime(_ text: ByteBuffer) -> OperationTime? {
        let parts = text.readableBytesView.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
            .map { canonical(ByteBuffer(bytes: $0)).flatMap(UInt32.init(exactly:)) }
        guard parts.count == 2, let seconds = parts[0], let increment = parts[1] else { return nil }
        return OperationTime(seconds: seconds, increment: increment)
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
    static func streamID(_ text: ByteBuffer) -> LogPosition? {
        guard text.readableBytes > 2, let head = text.getSlice(at: text.readerIndex, length: text.readableBytes - 2),
            text.getString(at: text.readerIndex + head.readableBytes, length: 2) == "-0"
        else { return nil }
        return position(head)
    }
}
