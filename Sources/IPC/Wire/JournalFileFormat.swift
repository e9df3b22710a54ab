import NIOCore

/// What stands in a journal file: one or more RESP arrays of tags, so that a half-written file shows by itself.
package enum JournalFileFormat {
    /// More bytes than any file of ours has. A larger file is nothing of ours.
    package static let maximumBytes = 2 << 20
    /// What is written into one file at most, unless a single invalidation is longer.
    package static let comfortableBytes = 1 << 20

    /// How many bytes one invalidation takes, about.
    package static func bytes(_ tags: [ByteBuffer]) -> Int { tags.reduce(16) { $0 + $1.readableBytes + 12 } }

    /// Space that a file of this many bytes takes in the file system: whole pages.
    package static func kept(_ bytes: Int) -> Int { (bytes + 4095) / 4096 * 4096 }

    package static func encode(_ invalidations: [[ByteBuffer]]) -> ByteBuffer {
        var writer = RESPWriter(version: .v2)
        for tags in invalidations {
            writer.arrayHeader(tags.count)
            for tag in tags { writer.bulkString(tag) }
        }
        return writer.buffer
    }

    /// All tags of all arrays. `nil` if the bytes are not whole arrays of at least one tag each.
    package static func decode(_ bytes: ByteBuffer) -> [ByteBuffer]? {
        var decoder = CommandDecoder(limits: WireLimits())
        decoder.feed(bytes)
        var all: [ByteBuffer] = []
        do throws(RESPError) {
            while let tags = try decoder.next() {
                if tags.isEmpty { return nil }
                all += tags
            }
        } catch {
            return nil
        }
        return all.isEmpty || !decoder.isBetweenFrames ? nil : all
    }
}
