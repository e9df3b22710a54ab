import Notation

/// The name of a file in the journal directory (docs/protocol.md, "The journal"):
/// `<16 hex digits>-<pid>-<number>.<kind>`. The part before the number is the owner. Its lock is `<owner>.lock`.
package struct JournalFileName: Hashable {
    /// The request that a file stands for; the end of its name.
    package enum Kind: String, Sendable, Hashable {
        /// A write that is under way, or whose owner died during it.
        case intent
        /// A write that may still reach the database.
        case orphan
        /// An invalidation that is not in the log yet.
        case pending
    }

    package var owner: String
    package var number: UInt64
    package var kind: Kind

    /// The file that says "replace the incarnation".
    package static let marker = "syncd.marker"
    package static let lockSuffix = ".lock"
    /// The prefix of files that don't have their final name yet.
    package static let temporaryPrefix = ".new-"

    package var text: String { "\(owner)-\(number).\(kind.rawValue)" }

    package init(owner: String, number: UInt64, kind: Kind) {
        self.owner = owner
        self.number = number
        self.kind = kind
    }

    /// The end of pending files of earlier versions: during an upgrade their workers use the same journal.
    private static let formerPending = "owed"

    /// `nil` for every name that is not exactly of this form.
    package init?(_ text: String) {
        let halves = text.split(separator: ".", omittingEmptySubsequences: false)
        guard halves.count == 2,
            let kind = halves[1] == Self.formerPending ? .pending : Kind(rawValue: String(halves[1])),
            let dash = halves[0].lastIndex(of: "-"),
            let number = UInt64(halves[0][halves[0].index(after: dash)...])
        else { return nil }
        self.init(owner: String(halves[0][..<dash]), number: number, kind: kind)
        guard Self.isOwner(owner), self.text == "\(halves[0]).\(kind.rawValue)" else { return nil }
    }

    /// A name that was never used: 64 random bits and the process id.
    package static func newOwner(processID: Int32) -> String {
        owner(random: UInt64.random(in: 0...UInt64.max), processID: processID)
    }

    /// The name with these random bits.
    package static func owner(random: UInt64, processID: Int32) -> String {
        random.padded(16, radix: 16) + "-\(processID)"
    }

    /// The owner of a lock file; `nil`: it is no lock.
    package static func ownerOfLock(_ name: String) -> String? {
        guard name.hasSuffix(lockSuffix) else { return nil }
        let owner = String(name.dropLast(lockSuffix.count))
        return isOwner(owner) ? owner : nil
    }

    package static func isOwner(_ text: String) -> Bool {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        return parts.count == 2 && parts[0].utf8.count == 16
            && parts[0].utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
            && (1...10).contains(parts[1].utf8.count) && parts[1].utf8.allSatisfy { (0x30...0x39).contains($0) }
    }
}
