import NIOCore

/// Writes frames of one protocol version. Data goes out in bulk strings only, whose length says where they end.
public struct RESPWriter: Sendable {
    /// What has been written and not taken yet.
    public var buffer: ByteBuffer
    /// Which null, maps, booleans and pushes are written.
    public let version: RESPVersion

    /// A writer that appends to `buffer`.
    public init(version: RESPVersion, buffer: ByteBuffer = ByteBuffer()) {
        self.version = version
        self.buffer = buffer
    }

    /// Begins an array of `count` frames.
    public mutating func arrayHeader(_ count: Int) { header(UInt8(ascii: "*"), count) }

    /// Begins a map of `pairs` keys and values; in RESP2 a flat array.
    public mutating func mapHeader(_ pairs: Int) {
        if version == .v3 { header(UInt8(ascii: "%"), pairs) } else { header(UInt8(ascii: "*"), pairs * 2) }
    }

    /// Begins a push of `count` frames; in RESP2 an array.
    public mutating func pushHeader(_ count: Int) {
        header(version == .v3 ? UInt8(ascii: ">") : UInt8(ascii: "*"), count)
    }

    /// Data: its length, then its bytes as they are.
    public mutating func bulkString(_ bytes: ByteBuffer) {
        header(UInt8(ascii: "$"), bytes.readableBytes)
        buffer.writeImmutableBuffer(bytes)
        lineEnd()
    }

    /// Data: its length in UTF-8, then its bytes as they are.
    public mutating func bulkString(_ text: String) {
        header(UInt8(ascii: "$"), text.utf8.count)
        buffer.writeString(text)
        lineEnd()
    }

    /// A fixed text without CR or LF; never data.
    public mutating func simpleString(_ text: StaticString) {
        buffer.writeInteger(UInt8(ascii: "+"))
        buffer.writeStaticString(text)
        lineEnd()
    }

    /// A number.
    public mutating func integer(_ number: UInt64) {
        buffer.writeInteger(UInt8(ascii: ":"))
        digits(number)
        lineEnd()
    }

    /// A number that may be negative.
    public mutating func integer(_ number: Int64) {
        buffer.writeInteger(UInt8(ascii: ":"))
        if number < 0 { buffer.writeInteger(UInt8(ascii: "-")) }
        digits(number.magnitude)
        lineEnd()
    }

    /// Yes or no; in RESP2 1 or 0.
    public mutating func boolean(_ flag: Bool) {
        if version == .v3 {
            buffer.writeStaticString(flag ? "#t\r\n" : "#f\r\n")
        } else {
            buffer.writeStaticString(flag ? ":1\r\n" : ":0\r\n")
        }
    }

    /// Nothing; in RESP2 the null bulk string.
    public mutating func null() {
        if version == .v3 { buffer.writeStaticString("_\r\n") } else { buffer.writeStaticString("$-1\r\n") }
    }

    /// An error. Whatever is not printable ASCII in the message is escaped: it could end the line.
    public mutating func error(code: String, message: String) {
        buffer.writeInteger(UInt8(ascii: "-"))
        for byte in "\(code) \(message)".utf8 {
            if (0x20...0x7e).contains(byte) {
                buffer.writeInteger(byte)
            } else {
                buffer.writeString("\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16))
            }
        }
        lineEnd()
    }

    private mutating func header(_ type: UInt8, _ count: Int) {
        buffer.writeInteger(type)
        digits(UInt64(count))
        lineEnd()
    }

    private mutating func lineEnd() { buffer.writeInteger(UInt16(0x0d0a)) }

    private mutating func digits(_ number: UInt64) {
        if number < 10 {
            buffer.writeInteger(UInt8(ascii: "0") + UInt8(number))
            return
        }
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { scratch in
            var rest = number
            var start = scratch.count
            while rest > 0 {
                start -= 1
                scratch[start] = UInt8(ascii: "0") + UInt8(rest % 10)
                rest /= 10
            }
            buffer.writeBytes(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(scratch)[start...]))
        }
    }
}
