import IPCWire

/// The record of a run: a hash over all events, by which two runs of one seed are compared, and the last events in
/// words.
final class Record {
    private struct Note {
        var time: BootTime
        var what: StaticString
        var process: String
        var a: UInt64
        var b: UInt64
        var key: Int

        var isRead: Bool { what.utf8CodeUnitCount == 4 && what.description == "read" }

        var text: String {
            let milliseconds = Double((time - 1_000_000_000_000) / 1000) / 1000
            let keyText = key < 0 ? "" : " key \(key)"
            return "\(milliseconds) ms  \(process)  \(what)\(keyText)  \(a) \(b)"
        }
    }

    private(set) var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    private var notes: [Note] = []
    private var next = 0
    let isPrinting: Bool
    private static let capacity = 20_000

    init(isPrinting: Bool) { self.isPrinting = isPrinting }

    func event(_ time: BootTime, _ label: StaticString, _ process: Process?) {
        mix(time.number)
        mix(UInt64(label.utf8CodeUnitCount))
        mix(UInt64(process?.name.utf8.count ?? 0))
    }

    func note(_ time: BootTime, _ what: StaticString, _ process: Process?, _ a: UInt64, _ b: UInt64, key: Int) {
        mix(UInt64(what.utf8CodeUnitCount))
        mix(a)
        mix(b)
        mix(UInt64(bitPattern: Int64(key)))
        let note = Note(time: time, what: what, process: process?.name ?? "", a: a, b: b, key: key)
        if isPrinting { print(note.text) }
        if notes.count < Self.capacity {
            notes.append(note)
        } else {
            notes[next] = note
            next = (next + 1) % Self.capacity
        }
    }

    private func mix(_ number: UInt64) { hash = (hash ^ number) &* 0x100_0000_01b3 }

    /// The last notes about a key, and about events that concern all keys; of reads only the very last.
    func last(_ count: Int, about key: Int) -> [String] {
        var reads = 0
        var last: [String] = []
        for note in (notes[next...] + notes[..<next]).reversed() where note.key == key || note.key < 0 || key < 0 {
            if note.isRead { reads += 1 }
            if note.isRead && reads > 20 { continue }
            last.append(note.text)
            if last.count == count { break }
        }
        return last.reversed()
    }
}
