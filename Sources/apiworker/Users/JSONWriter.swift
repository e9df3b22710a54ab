import NIOCore
import Notation

/// Writes JSON straight into a buffer, without building values first.
struct JSONWriter {
    var buffer = ByteBuffer()
    /// Whether the next value needs a comma before it.
    private var needsComma = false

    mutating func object(_ content: (inout JSONWriter) -> Void) {
        begin("{")
        content(&self)
        end("}")
    }

    mutating func array(_ content: (inout JSONWriter) -> Void) {
        beginArray()
        content(&self)
        endArray()
    }

    /// The values written until ``endArray()`` are the items of one array.
    mutating func beginArray() { begin("[") }

    mutating func endArray() { end("]") }

    private mutating func begin(_ bracket: StaticString) {
        separate()
        buffer.writeStaticString(bracket)
        needsComma = false
    }

    private mutating func end(_ bracket: StaticString) {
        buffer.writeStaticString(bracket)
        needsComma = true
    }

    /// The name of the value that is written next.
    mutating func name(_ name: String) {
        separate()
        quoted(name)
        buffer.writeInteger(UInt8(ascii: ":"))
        needsComma = false
    }

    mutating func value(_ text: String) {
        separate()
        quoted(text)
    }

    mutating func value(_ number: Int) {
        separate()
        buffer.writeString(String(number))
    }

    /// A number without a fraction has no decimal point. JSON has no infinite numbers and no NaN: they become `null`.
    mutating func value(_ number: Double) {
        separate()
        if let whole = Int64(exactly: number) {
            buffer.writeString(String(whole))
        } else if number.isFinite {
            buffer.writeString(number.description)
        } else {
            buffer.writeStaticString("null")
        }
    }

    mutating func value(_ flag: Bool) {
        separate()
        buffer.writeStaticString(flag ? "true" : "false")
    }

    mutating func value(_ texts: [String]) {
        array { writer in
            for text in texts { writer.value(text) }
        }
    }

    mutating func field(_ name: String, _ text: String) {
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

    mutating func field(_ name: String, _ texts: [String]) {
        self.name(name)
        value(texts)
    }

    private mutating func separate() {
        if needsComma { buffer.writeInteger(UInt8(ascii: ",")) }
        needsComma = true
    }

    private mutating func quoted(_ text: String) {
        buffer.writeInteger(UInt8(ascii: "\""))
        var text = text
        text.withUTF8 { bytes in
            var start = 0
            for index in bytes.indices where JSONString.needsEscape(bytes[index]) {
                buffer.writeBytes(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(bytes)[start..<index]))
                buffer.writeString(JSONString.escape(UInt16(bytes[index])))
                start = index + 1
            }
            buffer.writeBytes(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(bytes)[start...]))
        }
        buffer.writeInteger(UInt8(ascii: "\""))
    }
}
