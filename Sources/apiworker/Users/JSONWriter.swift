import NIOCore
import Notation

/// Writes JSON straight into a buffer, without building values first.
struct JSONWriter {
    private(set) var buffer = ByteBuffer()
    /// Whether the next value needs a comma before it.
    private var needsComma = false

    /// Number of bytes written so far.
    var byteCount: Int { buffer.readableBytes }

    mutating func object(_ content: (inout JSONWriter) -> Void) {
        beginObject()
        content(&self)
        endObject()
    }

    mutating func array(_ content: (inout JSONWriter) -> Void) {
        beginArray()
        content(&self)
        endArray()
    }

    /// The names and values written until ``endObject()`` are one object.
    mutating func beginObject() { begin("{") }

    mutating func endObject() { end("}") }

    /// The values written until ``endArray()`` are the items of one array.
    mutating func beginArray() { begin("[") }

    mutating func endArray() { end("]") }

    private mutating func begin(_ bracket: Unicode.Scalar) {
        value(atMost: 1) { $0.append(UInt8(ascii: bracket)) }
        needsComma = false
    }

    private mutating func end(_ bracket: Unicode.Scalar) {
        write(atMost: 1) { $0.append(UInt8(ascii: bracket)) }
        needsComma = true
    }

    // MARK: Values

    /// The name of the value that is written next.
    mutating func name(_ name: String) {
        value(name)
        write(atMost: 1) { $0.append(UInt8(ascii: ":")) }
        needsComma = false
    }

    mutating func value(_ text: String) {
        var text = text
        text.withUTF8 { value(UnsafeRawBufferPointer($0)) }
    }

    /// A text in UTF-8. Other bytes are replaced.
    mutating func value(_ text: UnsafeRawBufferPointer) {
        guard !JSONString.isPlain(text) else { return value(atMost: text.count + 2) { $0.quote(text) } }
        var valid = String(decoding: text, as: UTF8.self)
        valid.withUTF8 { bytes in
            value(atMost: 1) { $0.append(UInt8(ascii: "\"")) }
            for start in stride(from: 0, to: bytes.count, by: Self.pieceBytes) {
                let piece = bytes[start..<min(start + Self.pieceBytes, bytes.count)]
                write(atMost: 6 * piece.count) { output in for byte in piece { output.escape(byte) } }
            }
            write(atMost: 1) { $0.append(UInt8(ascii: "\"")) }
        }
    }

    mutating func value(_ number: Int) { value(atMost: 20) { $0.append(number) } }

    /// A number without a fraction has no decimal point. JSON has no infinite numbers and no NaN: they become `null`.
    mutating func value(_ number: Double) {
        if let whole = Int(exactly: number) {
            value(whole)
        } else {
            value(atMost: 32) { $0.append(number.isFinite ? number.description : "null") }
        }
    }

    mutating func value(_ flag: Bool) { value(atMost: 5) { $0.append(flag ? "true" : "false") } }

    mutating func value(_ texts: [String]) {
        array { writer in
            for text in texts { writer.value(text) }
        }
    }

    mutating func value(_ texts: StoredUser.Texts) {
        array { writer in
            for text in texts { writer.value(text) }
        }
    }

    mutating func field(_ name: String, _ text: String) {
        self.name(name)
        value(text)
    }

    mutating func field(_ name: String, _ text: UnsafeRawBufferPointer) {
        self.name(name)
        value(text)
    }

    mutating func field(_ name: String, _ number: Int) {
        self.name(name)
        value(number)
    }

    mutating func field(_ name: String, _ number: Double) {
        self.name(name)
        value(number)
    }

    mutating func field(_ name: String, _ flag: Bool) {
        self.name(name)
        value(flag)
    }

    mutating func field(_ name: String, _ texts: StoredUser.Texts) {
        self.name(name)
        value(texts)
    }

    // MARK: Bytes

    /// Number of bytes of a text that are escaped at once: each may become six.
    private static let pieceBytes = 4096

    @inline(__always)
    private mutating func value(atMost count: Int, _ content: (inout Output) -> Void) {
        let comma = needsComma
        write(atMost: count + 1) { output in
            if comma { output.append(UInt8(ascii: ",")) }
            content(&output)
        }
        needsComma = true
    }

    /// Writes that many bytes at most.
    @inline(__always)
    private mutating func write(atMost count: Int, _ content: (inout Output) -> Void) {
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { memory in
            var output = Output(memory: memory)
            content(&output)
            return output.count
        }
    }
}

/// Memory with room for what is written.
private struct Output {
    let memory: UnsafeMutableRawBufferPointer
    private(set) var count = 0

    init(memory: UnsafeMutableRawBufferPointer) { self.memory = memory }

    @inline(__always)
    mutating func append(_ byte: UInt8) {
        memory[count] = byte
        count += 1
    }

    @inline(__always)
    mutating func append(_ bytes: UnsafeRawBufferPointer) {
        UnsafeMutableRawBufferPointer(rebasing: memory[count...]).copyMemory(from: bytes)
        count += bytes.count
    }

    mutating func append(_ text: String) {
        for byte in text.utf8 { append(byte) }
    }

    /// Appends a text that needs no escapes.
    @inline(__always)
    mutating func quote(_ text: UnsafeRawBufferPointer) {
        append(UInt8(ascii: "\""))
        append(text)
        append(UInt8(ascii: "\""))
    }

    mutating func escape(_ byte: UInt8) {
        if JSONString.needsEscape(byte) { append(JSONString.escape(UInt16(byte))) } else { append(byte) }
    }

    mutating func append(_ number: Int) {
        if number < 0 { append(UInt8(ascii: "-")) }
        var (rest, divisor) = (number.magnitude, 1 as UInt)
        while rest / divisor >= 10 { divisor *= 10 }
        while divisor > 0 {
            append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest / divisor))
            rest %= divisor
            divisor /= 10
        }
    }
}
