import NIOCore
import Notation

/// Writes frames of one protocol version. Data is written in bulk strings only, whose length determines their end.
package struct RESPWriter: Sendable {
    /// Output that was written and not taken yet; it follows ``parts``.
    package var buffer: ByteBuffer
    /// The version, which determines the form of null, maps, booleans and pushes.
    package var version: RESPVersion
    /// Output with long data that is not copied: earlier output and the data itself, in order. Only if ``sharesData``
    /// is set.
    package private(set) var parts: [ByteBuffer] = []
    /// Bytes of ``parts``.
    package private(set) var partBytes = 0
    /// Whether data of ``sharedBytes`` or more becomes a separate part.
    package var sharesData = false

    /// Minimum length of shared data, in bytes: one more write costs about as much as this copy.
    package static let sharedBytes = 16 << 10

    /// A writer that appends to `buffer`.
    package init(version: RESPVersion, buffer: ByteBuffer = ByteBuffer()) {
        self.version = version
        self.buffer = buffer
    }

    /// Begins an array of `count` frames.
    package mutating func arrayHeader(_ count: Int) { header(UInt8(ascii: "*"), count) }

    /// Begins a map of `pairs` keys and values; in RESP2 a flat array.
    package mutating func mapHeader(_ pairs: Int) {
        if version == .v3 { header(UInt8(ascii: "%"), pairs) } else { header(UInt8(ascii: "*"), pairs * 2) }
    }

    /// Begins a push of `count` frames; in RESP2 an array.
    package mutating func pushHeader(_ count: Int) {
        header(version == .v3 ? UInt8(ascii: ">") : UInt8(ascii: "*"), count)
    }

    /// Data: its length, then its bytes unchanged.
    package mutating func bulkString(_ bytes: ByteBuffer) {
        let count = bytes.readableBytes
        if sharesData, count >= Self.sharedBytes {
            header(UInt8(ascii: "$"), count)
            addPart(bytes)
            lineEnd()
            return
        }
        // Header, bytes and end in one step: each single write checks the capacity and the ownership of the memory.
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: count + Self.maximumHeaderBytes + 2) {
            Self.bulkString(bytes, $0)
        }
    }

    /// A command: an array of data. One step for all of it; nothing is shared.
    package mutating func command(_ words: [ByteBuffer]) {
        let most = words.reduce(Self.maximumHeaderBytes) { $0 + $1.readableBytes + Self.maximumHeaderBytes + 2 }
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: most) { target in
            var end = Self.header(UInt8(ascii: "*"), UInt64(words.count), target)
            for word in words { end += Self.bulkString(word, UnsafeMutableRawBufferPointer(rebasing: target[end...])) }
            return end
        }
    }

    /// Writes data to the beginning of `target`; returns the length.
    private static func bulkString(_ bytes: ByteBuffer, _ target: UnsafeMutableRawBufferPointer) -> Int {
        let count = bytes.readableBytes
        let start = header(UInt8(ascii: "$"), UInt64(count), target)
        bytes.withUnsafeReadableBytes { source in
            UnsafeMutableRawBufferPointer(rebasing: target[start...]).copyMemory(from: source)
        }
        target[start + count] = 13
        target[start + count + 1] = 10
        return start + count + 2
    }

    /// Appends data to the output without copying.
    private mutating func addPart(_ data: ByteBuffer) {
        if buffer.readableBytes > 0 {
            parts.append(buffer)
            partBytes += buffer.readableBytes
            buffer = ByteBuffer()
        }
        parts.append(data)
        partBytes += data.readableBytes
    }

    /// The output of ``bulkString(_:)`` for this many bytes, in bytes.
    static func bulkStringBytes(_ count: Int) -> Int { digits(UInt64(count)) + count + 5 }

    /// Writes encoded frames, with a number after the first `split` bytes of them and one at their end. One step, since
    /// each single write checks the capacity and the ownership of the memory.
    mutating func frames(_ frames: ByteBuffer, numberAfter split: Int, _ first: UInt64, numberAtEnd last: UInt64) {
        let bytes = frames.readableBytes
        if sharesData, bytes >= Self.sharedBytes {
            if let before = frames.getSlice(at: frames.readerIndex, length: split) { addPart(before) }
            integer(first)
            let after = frames.getSlice(at: frames.readerIndex + split, length: bytes - split)
            if var after { buffer.writeBuffer(&after) }
            integer(last)
            return
        }
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: bytes + 2 * Self.maximumHeaderBytes) { target in
            frames.withUnsafeReadableBytes { source in
                var end = split
                target.copyMemory(from: UnsafeRawBufferPointer(rebasing: source[..<split]))
                end += Self.header(UInt8(ascii: ":"), first, UnsafeMutableRawBufferPointer(rebasing: target[end...]))
                UnsafeMutableRawBufferPointer(rebasing: target[end...])
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: source[split...]))
                end += bytes - split
                return end
                    + Self.header(
                        UInt8(ascii: ":"), last, UnsafeMutableRawBufferPointer(rebasing: target[end...]))
            }
        }
    }

    /// Bytes that are frames already; never data.
    mutating func frames(_ text: StaticString) { buffer.writeStaticString(text) }

    /// Data: its length in UTF-8, then its bytes unchanged.
    package mutating func bulkString(_ text: String) {
        header(UInt8(ascii: "$"), text.utf8.count)
        buffer.writeString(text)
        lineEnd()
    }

    /// Data: the plain decimal digits of a number.
    package mutating func bulkString(_ number: UInt64) {
        let count = Self.digits(number)
        header(UInt8(ascii: "$"), count)
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: count) {
            Self.write(number, before: count, $0)
            return count
        }
        lineEnd()
    }

    /// A fixed text, as data.
    mutating func word(_ text: StaticString) {
        header(UInt8(ascii: "$"), text.utf8CodeUnitCount)
        buffer.writeStaticString(text)
        lineEnd()
    }

    /// A fixed text without CR or LF; never data.
    package mutating func simpleString(_ text: StaticString) {
        buffer.writeInteger(UInt8(ascii: "+"))
        buffer.writeStaticString(text)
        lineEnd()
    }

    /// A number.
    package mutating func integer(_ number: UInt64) {
        header(UInt8(ascii: ":"), number)
    }

    /// A number that may be negative.
    package mutating func integer(_ number: Int64) {
        guard number < 0 else { return integer(UInt64(number)) }
        buffer.writeString(":-\(number.magnitude)\r\n")
    }

    /// A boolean; in RESP2 1 or 0.
    package mutating func boolean(_ flag: Bool) {
        if version == .v3 {
            buffer.writeStaticString(flag ? "#t\r\n" : "#f\r\n")
        } else {
            buffer.writeStaticString(flag ? ":1\r\n" : ":0\r\n")
        }
    }

    /// Null; in RESP2 the null bulk string.
    package mutating func null() {
        if version == .v3 { buffer.writeStaticString("_\r\n") } else { buffer.writeStaticString("$-1\r\n") }
    }

    /// An error. All but printable ASCII in the message is escaped: it could end the line.
    package mutating func error(code: String, message: String) {
        buffer.writeInteger(UInt8(ascii: "-"))
        for byte in "\(code) \(message)".utf8 {
            if (0x20...0x7e).contains(byte) {
                buffer.writeInteger(byte)
            } else {
                buffer.writeString("\\x" + byte.padded(2, radix: 16))
            }
        }
        lineEnd()
    }

    private mutating func header(_ type: UInt8, _ count: Int) { header(type, UInt64(count)) }

    private mutating func header(_ type: UInt8, _ number: UInt64) {
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.maximumHeaderBytes) {
            Self.header(type, number, $0)
        }
    }

    private mutating func lineEnd() { buffer.writeInteger(UInt16(0x0d0a)) }

    /// A type, a number of at most 20 digits, CR LF.
    private static let maximumHeaderBytes = 23

    /// Writes a header to the beginning of `target`; returns its length.
    private static func header(_ type: UInt8, _ number: UInt64, _ target: UnsafeMutableRawBufferPointer) -> Int {
        let end = 1 + digits(number)
        target[0] = type
        write(number, before: end, target)
        target[end] = 13
        target[end + 1] = 10
        return end + 2
    }

    private static func digits(_ number: UInt64) -> Int {
        var (count, rest) = (1, number)
        while rest >= 10 {
            rest /= 10
            count += 1
        }
        return count
    }

    /// Writes the digits of a number so that they end before `end`.
    private static func write(_ number: UInt64, before end: Int, _ target: UnsafeMutableRawBufferPointer) {
        var (place, rest) = (end, number)
        repeat {
            place -= 1
            target[place] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        } while rest > 0
    }
}
