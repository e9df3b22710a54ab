import NIOCore
import Notation

/// Writes JSON byte by byte, without building values first.
struct JSONWriter: ~Copyable {
    private var memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 256, alignment: 1)
    /// Number of bytes written so far.
    private(set) var byteCount = 0
    /// Whether the next value needs a comma before it.
    private var needsComma = false

    deinit { memory.deallocate() }

    /// The bytes written so far, valid until more are written.
    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: memory[..<byteCount]) }

    /// A copy of what was written.
    var buffer: ByteBuffer { ByteBuffer(bytes: bytes) }

    // MARK: Bytes

    /// Makes room for `count` more bytes.
    @inline(__always)
    private mutating func reserve(_ count: Int) {
        if memory.count - byteCount < count { grow(by: count) }
    }

    @inline(never)
    private mutating func grow(by count: Int) {
        let size = max(byteCount + count, 2 * memory.count)
        let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 1)
        larger.copyMemory(from: bytes)
        memory.deallocate()
        memory = larger
    }

    /// Writes a byte for which there is room.
    @inline(__always)
    private mutating func put(_ byte: UInt8) {
        memory[byteCount] = byte
        byteCount += 1
    }

    @inline(__always)
    private mutating func put(_ character: Unicode.Scalar) { put(UInt8(ascii: character)) }

    /// Writes bytes for which there is room.
    @inline(__always)
    private mutating func put(_ bytes: UnsafeRawBufferPointer) {
        UnsafeMutableRawBufferPointer(rebasing: memory[byteCount...]).copyMemory(from: bytes)
        byteCount += bytes.count
    }

    @inline(__always)
    private mutating func put(text: StaticString) {
        put(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    /// Makes room for `count` bytes, and writes the comma between values.
    @inline(__always)
    private mutating func separate(_ count: Int) {
        reserve(count + 1)
        if needsComma { put(",") }
        needsComma = true
    }

    // MARK: Structure

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
        separate(1)
        put(bracket)
        needsComma = false
    }

    private mutating func end(_ bracket: Unicode.Scalar) {
        reserve(1)
        put(bracket)
        needsComma = true
    }

    /// Begins members of an object that another writer takes over with ``members(_:)``.
    mutating func beginMembers() { needsComma = false }

    /// Writes members of an object, as another writer has written them.
    mutating func members(_ bytes: UnsafeRawBufferPointer) {
        separate(bytes.count)
        put(bytes)
    }

    /// The name of the value that is written next: ASCII without escapes.
    @inline(__always)
    mutating func name(_ name: StaticString) {
        separate(name.utf8CodeUnitCount + 3)
        put("\"")
        put(text: name)
        put("\"")
        put(":")
        needsComma = false
    }

    // MARK: Values

    mutating func value(_ text: String) {
        var text = text
        text.withUTF8 { value(UnsafeRawBufferPointer($0)) }
    }

    /// A text in UTF-8. Other bytes are replaced.
    mutating func value(_ text: UnsafeRawBufferPointer) {
        self.text { $0.part(text) }
    }

    /// A text that `content` writes in parts.
    @inline(__always)
    mutating func text(_ content: (inout JSONWriter) -> Void) {
        separate(1)
        put("\"")
        content(&self)
        reserve(1)
        put("\"")
    }

    /// A part of a text: ASCII without escapes.
    @inline(__always)
    mutating func part(_ text: StaticString) {
        reserve(text.utf8CodeUnitCount)
        put(text: text)
    }

    /// A part of a text, in UTF-8. Other bytes are replaced.
    @inline(__always)
    mutating func part(_ text: UnsafeRawBufferPointer) {
        reserve(text.count)
        if JSONString.isPlain(text) { put(text) } else { escape(text) }
    }

    @inline(never)
    private mutating func escape(_ text: UnsafeRawBufferPointer) {
        var valid = String(decoding: text, as: UTF8.self)
        valid.withUTF8 { valid in
            for byte in valid {
                reserve(6)
                if JSONString.needsEscape(byte) {
                    JSONString.putEscape(of: byte) { put($0) }
                } else {
                    put(byte)
                }
            }
        }
    }

    /// A moment as ISO 8601 in UTC, with milliseconds.
    mutating func value(_ date: UTCDate) {
        separate(UTCDate.iso8601Count + 2)
        put("\"")
        date.writeISO8601(to: UnsafeMutableRawBufferPointer(rebasing: memory[byteCount...]))
        byteCount += UTCDate.iso8601Count
        put("\"")
    }

    mutating func value(_ number: Int) {
        // 19 digits and a sign.
        separate(20)
        if number < 0 { put("-") }
        var (rest, divisor) = (number.magnitude, 1 as UInt)
        while rest / divisor >= 10 { divisor *= 10 }
        while divisor > 0 {
            put(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest / divisor))
            rest %= divisor
            divisor /= 10
        }
    }

    /// A number without a fraction has no decimal point. JSON has no infinite numbers and no NaN: they become `null`.
    mutating func value(_ number: Double) {
        if let whole = Int(exactly: number) { return value(whole) }
        let text = number.isFinite ? number.description : "null"
        separate(text.utf8.count)
        for byte in text.utf8 { put(byte) }
    }

    mutating func value(_ flag: Bool) {
        separate(5)
        put(text: flag ? "true" : "false")
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

    mutating func field(_ name: StaticString, _ date: UTCDate) {
        self.name(name)
        value(date)
    }
}
