import NIOCore

/// A cached value with everything its freshness is judged by.
package struct Hit: Sendable, Hashable {
    /// What is the same for all hits of one entry.
    package let entry: Entry
    /// How long the value may still be used.
    package let ttlMilliseconds: UInt64
    /// Epoch of the table at the verdict.
    package let epoch: UInt64

    /// `nil`: a negative result.
    package var value: ByteBuffer? { entry.value }
    /// Log position that was applied before the value was read from the database.
    package var asOf: UInt64 { entry.asOf }
    /// The declared tags.
    package var tags: [ByteBuffer] { entry.tags }

    /// A value and what it is judged by.
    package init(value: ByteBuffer?, asOf: UInt64, ttlMilliseconds: UInt64, tags: [ByteBuffer], epoch: UInt64) {
        self.init(Entry(value: value, asOf: asOf, tags: tags), ttlMilliseconds: ttlMilliseconds, epoch: epoch)
    }

    /// A hit of an entry that is kept.
    package init(_ entry: Entry, ttlMilliseconds: UInt64, epoch: UInt64) {
        self.entry = entry
        self.ttlMilliseconds = ttlMilliseconds
        self.epoch = epoch
    }
}

extension Hit {
    /// What a cache keeps of a value. An object, so that a hit copies one reference.
    package final class Entry: Sendable, Hashable {
        package let value: ByteBuffer?
        package let asOf: UInt64
        package let tags: [ByteBuffer]
        /// All elements of a reply but two, as they are written; empty: they have not been written yet.
        fileprivate let frames: ByteBuffer
        /// Between so many bytes of ``frames`` and the others stands the time to live; after them, the epoch.
        fileprivate let bytesBeforeTTL: Int

        package init(value: ByteBuffer?, asOf: UInt64, tags: [ByteBuffer]) {
            self.value = value
            self.asOf = asOf
            self.tags = tags
            frames = ByteBuffer()
            bytesBeforeTTL = 0
        }

        /// A copy in memory of its own, from which replies are written at one go. Value and tags lie in the same memory,
        /// and nothing else does.
        package init(encoding entry: Entry) {
            var writer = RESPWriter(version: .v3)
            // Exactly: what is reserved stays.
            writer.buffer.reserveCapacity(
                entry.tags.reduce(60 + RESPWriter.bulkStringBytes(entry.value?.readableBytes ?? 0)) {
                    $0 + RESPWriter.bulkStringBytes($1.readableBytes)
                })
            var places: [Range<Int>] = []
            func data(_ bytes: ByteBuffer) {
                writer.bulkString(bytes)
                let end = writer.buffer.writerIndex - 2
                places.append(end - bytes.readableBytes..<end)
            }
            writer.frames("$3\r\nhit\r\n")
            if let value = entry.value { data(value) } else { writer.null() }
            writer.integer(entry.asOf)
            bytesBeforeTTL = writer.buffer.readableBytes
            writer.arrayHeader(entry.tags.count)
            for tag in entry.tags { data(tag) }
            frames = writer.buffer
            asOf = entry.asOf
            var copies = places.map { [frames] in frames.getSlice(at: $0.lowerBound, length: $0.count) ?? ByteBuffer() }
            value = entry.value == nil ? nil : copies.removeFirst()
            tags = copies
        }

        /// Memory that the copy takes, the objects themselves apart, in bytes.
        package var bytes: Int { frames.storageCapacity + tags.count * MemoryLayout<ByteBuffer>.stride }

        /// The memory that replies share when it is long.
        package var sharedData: ByteBuffer? { frames.readableBytes > 0 ? frames : value }

        /// No less than it takes when it is written: header and end of a string are at most 25 bytes.
        fileprivate var encodedBytes: Int {
            tags.reduce(160 + (value?.readableBytes ?? 0)) { $0 + $1.readableBytes + 25 }
        }

        package static func == (left: Entry, right: Entry) -> Bool {
            left === right || left.value == right.value && left.asOf == right.asOf && left.tags == right.tags
        }

        package func hash(into hasher: inout Hasher) {
            hasher.combine(value)
            hasher.combine(asOf)
            hasher.combine(tags)
        }
    }

    /// Writes the elements of the outcome, without the header of the array or push that they stand in.
    func encode(into writer: inout RESPWriter) {
        // Nothing is written in two ways, one in each version.
        if entry.frames.readableBytes > 0, value != nil || writer.version == .v3 {
            writer.frames(
                entry.frames, numberAfter: entry.bytesBeforeTTL, ttlMilliseconds, numberAtEnd: epoch)
            return
        }
        writer.buffer.reserveCapacity(minimumWritableBytes: entry.encodedBytes)
        writer.frames("$3\r\nhit\r\n")
        if let value { writer.bulkString(value) } else { writer.null() }
        writer.integer(asOf)
        writer.integer(ttlMilliseconds)
        writer.arrayHeader(tags.count)
        for tag in tags { writer.bulkString(tag) }
        writer.integer(epoch)
    }
}
