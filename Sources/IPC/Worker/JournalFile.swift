import IPCWire
import NIOCore

/// One file of the journal directory, as syncd finds it.
public struct JournalFile: Sendable, Hashable {
    /// The meaning of a file.
    public enum Kind: String, Sendable, Hashable {
        /// A write that is under way, or whose owner died during it.
        case intent
        /// A write that may still reach the database.
        case orphan
        /// An invalidation that is not in the log yet.
        case owed
        /// "Replace the incarnation": stands for pending invalidations that are too many to name.
        case marker
        /// A foreign or unreadable file, to be left alone and reported.
        case foreign
    }

    /// The name inside the directory. In a directory that was replaced, the directory's number and a slash precede it.
    public var name: String
    /// The meaning of the file.
    public var kind: Kind
    /// The owner; empty for markers and foreign files.
    public var owner: String
    /// Only for intents: whether the owner lives, and so will commit or rename it.
    public var isOwnerAlive: Bool
    /// The tags; `nil` if the file is incomplete, unreadable or was not read.
    public var tags: [ByteBuffer]?
    /// A number that differs after every change of the file, and for every other file of the same name.
    public var version: UInt64 = 0
    /// Whether the content was read.
    public var isRead = false
}

extension JournalFile {
    /// The action that a file requires of syncd.
    package enum Demand: Sendable {
        /// Append the tags.
        case owed
        /// Append the tags now, and again until the write cannot happen any more.
        case orphan
        /// Append the tags if the owner, which lives, does not act for long.
        case living
        /// Only delete the file: its database write had not begun.
        case incomplete
        /// Replace the incarnation.
        case marker
    }

    /// `nil`: to be left alone, like foreign files.
    package var demand: Demand? {
        switch kind {
        case .intent where isOwnerAlive: .living
        // A file that was not read this time is known already.
        case .intent: isRead && tags == nil ? .incomplete : .orphan
        case .orphan: .orphan
        case .owed: .owed
        case .marker: .marker
        case .foreign: nil
        }
    }
}

/// Names of files in the journal directory: `<16 hex digits>-<pid>-<number>.<kind>`, the part before the number being
/// the owner, and `<owner>.lock`.
package struct JournalName: Hashable {
    var owner: String
    var number: UInt64
    var kind: JournalFile.Kind

    static let marker = "syncd.marker"
    static let lockSuffix = ".lock"
    /// The prefix of files that don't have their final name yet.
    static let temporaryPrefix = ".new-"

    var text: String { "\(owner)-\(number).\(kind.rawValue)" }

    init(owner: String, number: UInt64, kind: JournalFile.Kind) {
        self.owner = owner
        self.number = number
        self.kind = kind
    }

    /// `nil` for every name that is not exactly of this form.
    init?(_ text: String) {
        let halves = text.split(separator: ".", omittingEmptySubsequences: false)
        guard halves.count == 2, let kind = JournalFile.Kind(rawValue: String(halves[1])),
            [.intent, .orphan, .owed].contains(kind), let dash = halves[0].lastIndex(of: "-"),
            let number = UInt64(halves[0][halves[0].index(after: dash)...])
        else { return nil }
        self.init(owner: String(halves[0][..<dash]), number: number, kind: kind)
        guard Self.isOwner(owner), self.text == text else { return nil }
    }

    /// A name that was never used: 64 random bits and the process id.
    static func newOwner(processID: Int32) -> String {
        owner(random: UInt64.random(in: 0...UInt64.max), processID: processID)
    }

    /// The name with these random bits.
    package static func owner(random: UInt64, processID: Int32) -> String {
        let digits = String(random, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits + "-\(processID)"
    }

    /// The owner of a lock file; `nil`: it is no lock.
    static func ownerOfLock(_ name: String) -> String? {
        guard name.hasSuffix(lockSuffix) else { return nil }
        let owner = String(name.dropLast(lockSuffix.count))
        return isOwner(owner) ? owner : nil
    }

    static func isOwner(_ text: String) -> Bool {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        return parts.count == 2 && parts[0].utf8.count == 16
            && parts[0].utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
            && (1...10).contains(parts[1].utf8.count) && parts[1].utf8.allSatisfy { (0x30...0x39).contains($0) }
    }
}

/// The content of a journal file: one or more RESP arrays of tags, so that an incomplete file is recognized.
enum JournalContent {
    /// Maximum size in bytes. A larger file is foreign.
    static let maximumBytes = 2 << 20
    /// Target size of one file in bytes, unless a single invalidation is longer.
    static let comfortableBytes = 1 << 20

    /// Approximate size of one invalidation, in bytes.
    static func bytes(_ tags: [ByteBuffer]) -> Int { tags.reduce(16) { $0 + $1.readableBytes + 12 } }

    /// Space that a file of this many bytes takes in the file system: whole pages.
    static func kept(_ bytes: Int) -> Int { (bytes + 4095) / 4096 * 4096 }

    static func encode(_ invalidations: [[ByteBuffer]]) -> ByteBuffer {
        var writer = RESPWriter(version: .v2)
        for tags in invalidations {
            writer.arrayHeader(tags.count)
            for tag in tags { writer.bulkString(tag) }
        }
        return writer.buffer
    }

    /// All tags of all arrays. `nil` if the bytes are not whole arrays of at least one tag each.
    static func decode(_ bytes: ByteBuffer) -> [ByteBuffer]? {
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
