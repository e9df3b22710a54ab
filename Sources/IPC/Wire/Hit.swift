import NIOCore

/// A cached value with the data that decide its freshness.
package struct Hit: Sendable, Hashable {
    /// The part that all hits of one entry share.
    package let entry: Entry
    /// Remaining time to live.
    package let ttlMilliseconds: UInt64
    /// Epoch of the table at the verdict.
    package let epoch: Epoch

    /// `nil`: a negative result.
    package var value: ByteBuffer? { entry.value }
    /// Log position that was applied before the value was read from the database.
    package var asOf: LogPosition { entry.asOf }
    /// The declared tags.
    package var tags: [ByteBuffer] { entry.tags }

    /// A value with the data that decide its freshness.
    package init(value: ByteBuffer?, asOf: LogPosition, ttlMilliseconds: UInt64, tags: [ByteBuffer], epoch: Epoch) {
        self.init(Entry(value: value, asOf: asOf, tags: tags), ttlMilliseconds: ttlMilliseconds, epoch: epoch)
    }

    /// A hit of a stored entry.
    package init(_ entry: Entry, ttlMilliseconds: UInt64, epoch: Epoch) {
        self.entry = entry
        self.ttlMilliseconds = ttlMilliseconds
        self.epoch = epoch
    }
}

extension Hit {
    /// The stored part of a value. An object, so that a hit copies one reference.
    package final class Entry: Sendable, Hashable {
        package let value: ByteBuffer?
        package let asOf: LogPosition
        package let tags: [ByteBuffer]
        /// The encoded elements of a reply except time to live and epoch; empty: they have not been encoded yet.
        fileprivate let frames: ByteBuffer
        /// Number of bytes of ``frames`` before the time to live; the epoch follows at the end.
        fileprivate let bytesBeforeTTL: Int

        package init(value: ByteBuffer?, asOf: LogPosition, tags: [ByteBuffer]) {
            self.value = value
            self.asOf = asOf
            self.tags = tags
            frames = ByteBuffer()
            bytesBeforeTTL = 0
        }

        /// A copy with its own memory, from which replies are written in one step. Value and tags are slices of this
        /// memory, which holds nothing else.
        package init(encoding entry: Entry) {
            var writer = RESPWriter(version: .v3)
            // The exact size: reserved memory is kept.
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
            writer.integer(entry.asOf.number)
            bytesBeforeTTL = writer.buffer.readableBytes
            writer.arrayHeader(entry.tags.count)
            for tag in entry.tags { data(tag) }
            frames = writer.buffer
            asOf = entry.asOf
            var copies = places.map { [frames] in frames.getSlice(at: $0.lowerBound, length: $0.count) ?? ByteBuffer() }
            value = entry.value == nil ? nil : copies.removeFirst()
            tags = copies
        }

        /// Memory of the copy without its objects, in bytes.
        package var bytes: Int { frames.storageCapacity + tags.count * MemoryLayout<ByteBuffer>.stride }

        /// The memory that replies share when it is long.
        package var sharedData: ByteBuffer? { frames.readableBytes > 0 ? frames : value }

        /// An upper bound of the encoded size: header and end of a string are at most 25 bytes.
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

    /// Writes the elements of the outcome, without the header of the enclosing array or push.
    func encode(into writer: inout RESPWriter) {
        // Only a null is written differently in the two versions.
        if entry.frames.readableBytes > 0, value != nil || writer.version == .v3 {
            writer.frames(
                entry.frames, numberAfter: entry.bytesBeforeTTL, ttlMilliseconds, numberAtEnd: epoch.number)
            return
        }
        writer.buffer.reserveCapacity(minimumWritableBytes: entry.encodedBytes)
        writer.frames("$3\r\nhit\r\n")
        if let value { writer.bulkString(value) } else { writer.null() }
        writer.integer(asOf.number)
        writer.integer(ttlMilliseconds)
        writer.arrayHeader(tags.count)
        for tag in tags { writer.bulkString(tag) }
        writer.integer(epoch.number)
    }
}
