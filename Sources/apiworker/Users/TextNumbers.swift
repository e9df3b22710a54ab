/// Numbers for different texts, in the order of their first occurrence: 0, 1, 2 … Two texts are equal if their bytes are,
/// once bytes that are not UTF-8 are replaced.
///
/// A hash table with open addressing. The hash multiplies words by random numbers of this process: nobody who stores texts
/// can aim at one place of the table.
final class TextNumbers {
    private struct Entry {
        /// This memory belongs to the object.
        var text: UnsafeRawBufferPointer
        var hash: UInt64
        var number: Int
    }

    private var entries: [Entry] = []
    /// Indices of entries; -1: free. The length is a power of two, and more than half of it is free.
    private var slots: [Int32] = Array(repeating: -1, count: 64)
    /// The texts, by their number. Their memory belongs to this object.
    private(set) var texts: [UnsafeRawBufferPointer] = []
    /// Memory in use, in bytes.
    private(set) var byteCount = 0
    /// Memory of an entry beside its text, in bytes.
    private static let entryBytes = 72

    private static let seeds = (UInt64.random(in: .min ... .max) | 1, UInt64.random(in: .min ... .max) | 1)

    deinit { for entry in entries { entry.text.deallocate() } }

    func number(of text: UnsafeRawBufferPointer) -> Int {
        let hash = Self.hash(text)
        let slot = slot(of: text, hash)
        if slots[slot] >= 0 { return entries[Int(slots[slot])].number }
        var number = texts.count
        if String(validating: text, as: UTF8.self) == nil {
            var valid = String(decoding: text, as: UTF8.self)
            number = valid.withUTF8 { self.number(of: UnsafeRawBufferPointer($0)) }
        }
        insert(text, hash, number)
        return number
    }

    /// The slot of a text, or the free one where it belongs.
    private func slot(of text: UnsafeRawBufferPointer, _ hash: UInt64) -> Int {
        var slot = Int(truncatingIfNeeded: hash) & (slots.count - 1)
        while slots[slot] >= 0 {
            let entry = entries[Int(slots[slot])]
            if entry.hash == hash, entry.text.isEqual(text) { break }
            slot = (slot + 1) & (slots.count - 1)
        }
        return slot
    }

    private func insert(_ text: UnsafeRawBufferPointer, _ hash: UInt64, _ number: Int) {
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: text.count, alignment: 1)
        copy.copyMemory(from: text)
        let entry = Entry(text: UnsafeRawBufferPointer(copy), hash: hash, number: number)
        entries.append(entry)
        if number == texts.count { texts.append(entry.text) }
        byteCount += text.count + Self.entryBytes
        if entries.count * 2 >= slots.count {
            slots = Array(repeating: -1, count: slots.count * 2)
            for index in entries.indices { place(index) }
        } else {
            place(entries.count - 1)
        }
    }

    private func place(_ index: Int) { slots[slot(of: entries[index].text, entries[index].hash)] = Int32(index) }

    private static func hash(_ text: UnsafeRawBufferPointer) -> UInt64 {
        var hash = seeds.0 ^ UInt64(text.count)
        func mix(_ word: UInt64) {
            let product = (hash ^ word).multipliedFullWidth(by: seeds.1)
            hash = product.high ^ product.low
        }
        var index = 0
        while index + 8 <= text.count {
            mix(text.loadUnaligned(fromByteOffset: index, as: UInt64.self))
            index += 8
        }
        var rest: UInt64 = 0
        while index < text.count {
            rest = rest << 8 | UInt64(text[index])
            index += 1
        }
        mix(rest)
        mix(seeds.0)
        return hash
    }
}
