import NIOCore

/// The place of a write in the invalidation log. A read that brings it shows that write, on whichever host it is answered
/// (docs/consistency.md, "Reading your own writes").
///
/// The text is `<32 hexadecimal digits>-<position>`, at most 49 characters: the incarnation of the log, and a position of
/// 0 … 2^53. ``unknown`` is `-`.
public struct SyncPosition: Sendable, Hashable, CustomStringConvertible {
    /// A position in one log.
    package struct Place: Sendable, Hashable {
        package var incarnation: Incarnation
        package var position: LogPosition

        package init(incarnation: Incarnation, position: LogPosition) {
            self.incarnation = incarnation
            self.position = position
        }
    }

    /// `nil`: unknown.
    package let place: Place?

    package init(_ place: Place?) { self.place = place }

    /// The write is in no log yet, or it is not known where. A read that brings it is answered by the database.
    public static let unknown = SyncPosition(nil as Place?)

    /// Parses a text. A text of another form is ``unknown``.
    public init(_ text: String) { self.init(ByteBuffer(string: text)) }

    /// Parses a text. A text of another form is ``unknown``.
    package init(_ text: ByteBuffer) {
        let digits = text.readableBytesView.dropFirst(33)
        guard let name = text.getSlice(at: text.readerIndex, length: 32), let incarnation = Incarnation(name),
            text.getInteger(at: text.readerIndex + 32, as: UInt8.self) == UInt8(ascii: "-"),
            let number = PlainNumber.parse(digits)
        else {
            self = .unknown
            return
        }
        self.init(Place(incarnation: incarnation, position: LogPosition(number)))
    }

    /// The text, with the digits of the incarnation in lower case.
    public var description: String { place.map { "\($0.incarnation.description)-\($0.position)" } ?? "-" }

    /// The position of two writes: a read that brings it shows both. Positions of different logs cannot be compared, so
    /// that it is ``unknown`` then.
    public func joined(with other: SyncPosition) -> SyncPosition {
        guard let place, let theirs = other.place, place.incarnation == theirs.incarnation else { return .unknown }
        return place.position < theirs.position ? other : self
    }
}

/// How far a host is for a read that brings a position.
package enum PositionVerdict: Sendable, Hashable {
    /// The entry at the position is in the table: the usual rules show whether a value is older.
    case applied
    /// The host is attached to this log, and has not applied the position.
    case pending
    /// The host is isolated, or its log is another one: no value of its caches can be compared with the position.
    case incomparable
}

extension TagTable {
    /// The log that this host is attached to; `nil`: it is isolated.
    ///
    /// The state is loaded first. syncd stores the incarnation of another log before it attaches to it, and is isolated
    /// before it applies any entry of it.
    package var attachedLog: Incarnation? { state == .attached ? incarnation : nil }

    /// Whether this host has applied a position.
    ///
    /// An incarnation never comes back. So a log that is the attached one before and after the position is loaded was so
    /// all the time, and the position belongs to it.
    package func verdict(on place: SyncPosition.Place) -> PositionVerdict {
        let isAnyLog = breaks(.positionOfAnyLog)
        guard attachedLog == place.incarnation || isAnyLog else { return .incomparable }
        let isApplied = applied >= place.position
        guard attachedLog == place.incarnation || isAnyLog else { return .incomparable }
        return isApplied ? .applied : .pending
    }
}
