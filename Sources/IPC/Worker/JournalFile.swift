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

    /// The name inside the directory.
    public var name: String
    /// What it stands for.
    public var kind: Kind
    /// Who wrote it; empty for markers and foreign files.
    public var owner: String
    /// Only of intents: whether the owner lives, and so will commit or rename it. It is then not read.
    public var isOwnerAlive: Bool
    /// The tags; `nil` if the file is incomplete, unreadable or was not read.
    public var tags: [ByteBuffer]?
}

extension JournalFile {
    /// What a file asks of syncd.
    package enum Demand: Sendable {
        /// Append the tags.
        case owed
        /// Append the tags now, and once more later.
        case orphan
        /// Nothing but to be deleted: its database write had not begun.
        case incomplete
        /// Replace the incarnation.
        case marker
    }

    /// `nil`: to be left alone. Intents of living owners ask for nothing, their owners will commit or rename them;
    /// nor do foreign files.
    package var demand: Demand? {
        switch kind {
        case .intent where isOwnerAlive: nil
        case .intent: tags == nil ? .incomplete : .orphan
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

    static func isOwner(_ text: String) -> Bool {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        return parts.count == 2 && parts[0].utf8.count == 16
            && parts[0].utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
            && (1...10).contains(parts[1].utf8.count) && parts[1].utf8.allSatisfy { (0x30...0x39).contains($0) }
    }
}

/// What stands in a journal file: its tags as a RESP array, so that a half-written file shows by itself.
enum JournalContent {
    /// More bytes than any invalidation has. A larger file is nothing of ours.
    static let maximumBytes = 2 << 20

    static func encode(_ tags: [ByteBuffer]) -> ByteBuffer {
        var writer = RESPWriter(version: .v2)
        writer.arrayHeader(tags.count)
        for tag in tags { writer.bulkString(tag) }
        return writer.buffer
    }

    /// `nil` if the bytes are not one whole array of at least one tag.
    static func decode(_ bytes: ByteBuffer) -> [ByteBuffer]? {
        var decoder = CommandDecoder(limits: WireLimits())
        decoder.feed(bytes)
        guard let tags = try? decoder.next(), !tags.isEmpty else { return nil }
        return tags
    }
}
