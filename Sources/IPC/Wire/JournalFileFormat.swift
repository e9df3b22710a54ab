import NIOCore

/// The content of a journal file: one or more RESP arrays of tags, so that an incomplete file is recognized.
package enum JournalFileFormat {
    /// Maximum size in bytes. A larger file is foreign.
    package static let maximumBytes = 2 << 20
    /// Target size of one file in bytes, unless a single invalidation is longer.
    package static let comfortableBytes = 1 << 20

    /// Approximate size of one invalidation, in bytes.
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
