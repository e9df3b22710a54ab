import IPCWire
import NIOCore

@testable import SyncCore
@testable import syncd

/// Data in Redis, where others can write as well. The first byte chooses the reader.
enum EntriesTarget {
    static func check(_ input: inout FuzzInput) throws {
        switch input.byte() % 6 {
        case 0: try checkStored(input.buffer(), WireLimits())
        case 1: try checkStored(input.buffer(), .tight)
        case 2: try checkMadeOf(&input)
        case 3: try checkBody(input.buffer())
        case 4: try checkPublished(input.buffer())
        default: try checkNumbers(input.buffer())
        }
    }

    private static func checkStored(_ bytes: ByteBuffer, _ limits: WireLimits) throws {
        guard let entry = StoredEntry(encoded: bytes, limits: limits) else { return }
        try require(entry.encoded() == bytes, "\(entry) is not written as it was read")
        try checkKept(entry)
        try require(entry.tags.count <= limits.tagsPerEntry, "\(entry.tags.count) tags")
        try require(entry.tags.allSatisfy { $0.readableBytes <= limits.tagBytes }, "a tag is too long")
        try require(entry.value?.readableBytes ?? 0 <= limits.valueBytes, "the value is too long")
        try require(entry.asOf.number <= WireLimits.maximumNumber, "position \(entry.asOf)")
    }

    /// A value that is kept in the arena is the same, and so are the replies that are made of it.
    private static func checkKept(_ entry: StoredEntry) throws {
        let shape = ValueArenaLayout.Shape(indexWords: 512, ringBytes: 1 << 18)
        guard let arena = ValueArenaWriter(.inMemory(shape: shape)) else { return try require(false, "no arena") }
        let key = ByteBuffer(string: "k")
        let record = ArenaEntry(
            incarnation: entry.incarnation, asOf: entry.asOf, deadline: 1, tags: entry.tags, value: entry.value)
        guard arena.insert(record, for: key, now: 0), let found = arena.entry(for: key) else { return }
        let kept = ArenaCopy(found, key: key, table: table)
        try require(kept.stored == entry, "\(entry) is kept as \(kept.stored)")
        let plain = Hit(value: entry.value, asOf: entry.asOf, ttlMilliseconds: 1, tags: entry.tags, epoch: 1)
        try require(kept.slots.count == entry.tags.count + 2, "\(kept.slots.count) slots")
        let hit = Hit(kept.entry, ttlMilliseconds: 1, epoch: 1)
        try require(hit == plain, "\(hit) is not \(plain)")
        for version in [RESPVersion.v2, .v3] {
            var (expected, written) = (RESPWriter(version: version), RESPWriter(version: version))
            Reply.fetched(.hit(plain)).encode(into: &expected)
            Reply.fetched(.hit(hit)).encode(into: &written)
            try require(written.buffer == expected.buffer, "\(hit) is written in another way")
        }
    }

    private static let table = TagTable.inMemory()

    /// An entry and a body made of the input are read as they were written, and a part of them is not.
    private static func checkMadeOf(_ input: inout FuzzInput) throws {
        let incarnation = Incarnation(high: input.number(bytes: 8), low: input.number(bytes: 8))
        let asOf = input.number(bytes: 8) % (WireLimits.maximumNumber + 1)
        let tags = (0..<input.byte() % 65).map { _ in ByteBuffer(bytes: input.take(Int(input.byte()))) }
        let hasValue = input.byte() & 1 == 1
        let entry = StoredEntry(
            incarnation: incarnation, asOf: LogPosition(asOf), tags: tags, value: hasValue ? input.buffer() : nil)
        let read = StoredEntry(encoded: entry.encoded(), limits: WireLimits())
        try require(read == entry, "\(entry) is read as \(String(describing: read))")

        guard !tags.isEmpty else { return }
        let body = LogEntryBody(
            origin: incarnation.high, nonce: incarnation.low, eventChannel: tags[0].readableBytes == 0 ? nil : tags[0],
            tags: tags)
        let encoded = body.encoded()
        try require(LogEntryBody(encoded: encoded) == body, "\(body) is not read as it was written")
        let cut = encoded.getSlice(at: encoded.readerIndex, length: encoded.readableBytes - 1) ?? ByteBuffer()
        try require(LogEntryBody(encoded: cut) == nil, "a part of \(body) is read")
    }

    private static func checkBody(_ bytes: ByteBuffer) throws {
        guard let body = LogEntryBody(encoded: bytes) else { return }
        try require(body.encoded() == bytes, "\(body) is not written as it was read")
        try require(!body.tags.isEmpty, "no tags")
        var decoder = CommandDecoder(limits: WireLimits())
        decoder.feed(body.encodedTags())
        try require(try decoder.next() == body.tags, "the tags of \(body) are not read as they were written")
    }

    private static func checkPublished(_ message: ByteBuffer) throws {
        guard let (incarnation, entry) = LogEntry.decode(published: message) else { return }
        try require((1...WireLimits.maximumNumber).contains(entry.position.number), "position \(entry.position)")
        var again = ByteBuffer(string: "\(incarnation.description) \(entry.position) ")
        again.writeImmutableBuffer(entry.body.encoded())
        let read = LogEntry.decode(published: again)
        try require(read?.0 == incarnation && read?.1 == entry, "\(entry) is read as \(String(describing: read))")
    }

    private static func checkNumbers(_ text: ByteBuffer) throws {
        if let position = RedisNumber.position(text) {
            try require(position.number <= WireLimits.maximumNumber, "position \(position)")
            try require(RedisNumber.position(ByteBuffer(string: "\(position)")) == position, "\(position) is not read")
        }
        if let position = RedisNumber.streamID(text) {
            let again = RedisNumber.streamID(ByteBuffer(string: "\(position)-0"))
            try require(again == position, "\(position)-0 is not read")
        }
        let name = String(buffer: text)
        if let incarnation = Incarnation(name) {
            try require(incarnation.description == name.lowercased(), "\(name) is read as \(incarnation.description)")
        }
    }
}
