import IPCWire
import NIOCore

/// One file of the journal directory, as syncd finds it.
public struct JournalFile: Sendable, Hashable {
    /// What a file stands for.
    public enum Kind: String, Sendable, Hashable {
        /// A write that is going on, or whose owner died in the middle of it.
        case intent
        /// A write that may still reach the database.
        case orphan
        /// An invalidation that is not in the log yet.
        case owed
        /// "Replace the incarnation": stands for more owed invalidations than can be named.
        case marker
        /// Nothing of ours, or something that can't be read. To be left alone and reported.
        case foreign
    }

    /// The name inside the directory; of a directory that was replaced, with its number and a slash before it.
    public var name: String
    /// What it stands for.
    public var kind: Kind
    /// Who wrote it; empty for markers and foreign files.
    public var owner: String
    /// Only of intents: whether the owner lives, and so will commit or rename it.
    public var isOwnerAlive: Bool
    /// The tags; `nil` if the file is incomplete, unreadable or was not read.
    public var tags: [ByteBuffer]?
    /// Another one after every change of the file, and for every other file of the same name.
    public var version: UInt64 = 0
    /// Whether the content was looked at.
    public var isRead = false
}

extension JournalFile {
    /// What a file asks of syncd.
    package enum Demand: Sendable {
        /// Append the tags.
        case owed
        /// Append the tags now, and again until nothing of the write can happen any more.
        case orphan
        /// Append the tags if the owner, which lives, does nothing about them for long.
        case living
        /// Nothing but to be deleted: its database write had not begun.
        case incomplete
        /// Replace the incarnation.
        case marker
    }

    /// `nil`: to be left alone, as foreign files are.
    package var demand: Demand? {
        switch kind {
        case .intent where isOwnerAlive: .living
        // One that was not read this time is known already.
        case .intent: isRead && tags == nil ? .incomplete : .orphan
        case .orphan: .orphan
        case .owed: .owed
        case .marker: .marker
        case .foreign: nil
        }
    }
}

/// How files in the journal directory are called: `<16 hex digits>-<pid>-<number>.<kind>`, the part before the
/// number being the owner, and `<owner>.lock`.
package struct JournalName: Hashable {
    var owner: String
    var number: UInt64
    var kind: JournalFile.Kind

    static let marker = "syncd.marker"
    static let lockSuffix = ".lock"
    /// Files that don't have their name yet begin with it.
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

    /// A name that nobody has had: 64 random bits and the process id.
    static func newOwner(processID: Int32) -> String {
        owner(random: UInt64.random(in: 0...UInt64.max), processID: processID)
    }

    /// The name that these random bits make.
    package static func owner(random: UInt64, processID: Int32) -> String {
        let digits = String(random, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits + "-\(processID)"
    }

    /// Whose lock goes by this name; `nil`: it is no lock.
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

/// What stands in a journal file: one or more RESP arrays of tags, so that a half-written file shows by itself.
enum JournalContent {
    /// More bytes than any file of ours has. A larger file is nothing of ours.
    static let maximumBytes = 2 << 20
    /// What is written into one file at most, unless a single invalidation is longer.
    static let comfortableBytes = 1 << 20

    /// How many bytes one invalidation takes, about.
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
