import NIOCore
import Notation

/// Writes JSON byte by byte, without building values first.
struct JSONWriter {
    private var bytes: [UInt8] = []
    /// Whether the next value needs a comma before it.
    private var needsComma = false

    /// Number of bytes written so far.
    var byteCount: Int { bytes.count }

    /// A copy of what was written.
    var buffer: ByteBuffer { ByteBuffer(bytes: bytes) }

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
        separate()
        bytes.append(UInt8(ascii: bracket))
        needsComma = false
    }

    private mutating func end(_ bracket: Unicode.Scalar) {
        bytes.append(UInt8(ascii: bracket))
        needsComma = true
    }

    /// The name of the value that is written next: ASCII without escapes.
    mutating func name(_ name: StaticString) {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        bytes.append(UInt8(ascii: "\""))
        bytes.append(contentsOf: UnsafeBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
        bytes.append(UInt8(ascii: "\""))
        bytes.append(UInt8(ascii: ":"))
        needsComma = false
    }

    mutating func value(_ text: String) {
        var text = text
        text.withUTF8 { value(UnsafeRawBufferPointer($0)) }
    }

    /// A text in UTF-8. Other bytes are replaced.
    mutating func value(_ text: UnsafeRawBufferPointer) {
        separate()
        bytes.append(UInt8(ascii: "\""))
        if JSONString.isPlain(text) {
            bytes.append(contentsOf: text)
        } else {
            var valid = String(decoding: text, as: UTF8.self)
            valid.withUTF8 { valid in
                for byte in valid {
                    if JSONString.needsEscape(byte) {
                        bytes += JSONString.escape(UInt16(byte)).utf8
                    } else {
                        bytes.append(byte)
                    }
                }
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    mutating func value(_ number: Int) {
        separate()
        if number < 0 { bytes.append(UInt8(ascii: "-")) }
        var (rest, divisor) = (number.magnitude, 1 as UInt)
        while rest / divisor >= 10 { divisor *= 10 }
        while divisor > 0 {
            bytes.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest / divisor))
            rest %= divisor
            divisor /= 10
        }
    }

    /// A number without a fraction has no decimal point. JSON has no infinite numbers and no NaN: they become `null`.
    mutating func value(_ number: Double) {
        if let whole = Int(exactly: number) { return value(whole) }
        separate()
        bytes += (number.isFinite ? number.description : "null").utf8
    }

    mutating func value(_ flag: Bool) {
        separate()
        bytes += (flag ? "true" : "false").utf8
    }

    mutating func value(_ texts: [String]) {
        array { writer in
            for text in texts { writer.value(text) }
        }
    }

    mutating func field(_ name: StaticString, _ text: String) {
        self.name(name)
        value(text)
    }

    mutating func field(_ name: StaticString, _ text: UnsafeRawBufferPointer) {
        self.name(name)
        value(text)
    }

    mutating func field(_ name: StaticString, _ number: Int) {
        self.name(name)
        value(number)
    }

    mutating func field(_ name: StaticString, _ number: Double) {
        self.name(name)
        value(number)
    }

    mutating func field(_ name: StaticString, _ flag: Bool) {
        self.name(name)
        value(flag)
    }

    mutating func field(_ name: StaticString, _ texts: StoredUser.Texts) {
        self.name(name)
        array { writer in
            for text in texts { writer.value(text) }
        }
    }

    @inline(__always)
    private mutating func separate() {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        needsComma = true
    }
}
