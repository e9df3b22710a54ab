/// Numbers for different texts, in the order of their first occurrence: 0, 1, 2 … Two texts are equal if their bytes are,
/// once bytes that are not UTF-8 are replaced.
final class TextNumbers {
    private struct Key: Hashable {
        var bytes: UnsafeRawBufferPointer

        static func == (one: Key, other: Key) -> Bool { one.bytes.elementsEqual(other.bytes) }

        func hash(into hasher: inout Hasher) { hasher.combine(bytes: bytes) }
    }

    /// The keys own their memory.
    private var numbers: [Key: Int] = [:]
    /// The texts, by their number. Their memory belongs to this object.
    private(set) var texts: [UnsafeRawBufferPointer] = []
    /// Memory in use, in bytes.
    private(set) var byteCount = 0
    /// Memory of an entry beside its text, in bytes.
    private static let entryBytes = 64

    deinit { for key in numbers.keys { key.bytes.deallocate() } }

    func number(of text: UnsafeRawBufferPointer) -> Int {
        if let number = numbers[Key(bytes: text)] { return number }
        var number = texts.count
        if String(validating: text, as: UTF8.self) == nil {
            var valid = String(decoding: text, as: UTF8.self)
            number = valid.withUTF8 { self.number(of: UnsafeRawBufferPointer($0)) }
        }
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: text.count, alignment: 1)
        copy.copyMemory(from: text)
        let key = Key(bytes: UnsafeRawBufferPointer(copy))
        numbers[key] = number
        if number == texts.count { texts.append(key.bytes) }
        byteCount += text.count + Self.entryBytes
        return number
    }
}
