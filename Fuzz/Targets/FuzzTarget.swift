import NIOCore

/// The targets: all readers of bytes that others wrote. The name is that of the folder with its inputs.
enum FuzzTarget: String, CaseIterable, Sendable {
    /// Commands and replies, and the parsing of requests.
    case wire
    /// Data in Redis: log entries and cached values.
    case entries
    /// Events of other programs, and the rules of what they invalidate.
    case events
    /// Names and contents of journal files.
    case journal
    /// The file of the tag table.
    case table
    /// REDIS_URL, and what a server tells about itself.
    case redis
    /// Bodies, queries and headers of HTTP requests.
    case http
    /// Metrics that workers report.
    case metrics
    /// Documents of users that other programs stored.
    case users

    /// Checks one input.
    ///
    /// - Throws: ``Broken``
    func check(_ bytes: [UInt8]) throws {
        var input = FuzzInput(bytes)
        switch self {
        case .wire: try WireTarget.check(&input)
        case .entries: try EntriesTarget.check(&input)
        case .events: try EventsTarget.check(&input)
        case .journal: try JournalTarget.check(&input)
        case .table: try TableTarget.check(&input)
        case .redis: try RedisTarget.check(&input)
        case .http: try HTTPTarget.check(&input)
        case .metrics: try MetricsTarget.check(&input)
        case .users: try UsersTarget.check(&input)
        }
    }
}

/// Something that has to hold for every input does not.
struct Broken: Error, CustomStringConvertible {
    var description: String
}

/// Ends the check of an input if something doesn't hold.
func require(_ condition: Bool, _ what: @autoclosure () -> String) throws {
    if !condition { throw Broken(description: what()) }
}

/// The bytes of an input, read from the front. At their end there are zeros.
struct FuzzInput {
    private(set) var rest: ArraySlice<UInt8>

    init(_ bytes: [UInt8]) { rest = bytes[...] }

    mutating func byte() -> UInt8 { rest.popFirst() ?? 0 }

    /// Big endian.
    mutating func number(bytes count: Int) -> UInt64 {
        (0..<count).reduce(0) { number, _ in number << 8 | UInt64(byte()) }
    }

    /// The next `count` bytes, or as many as there are.
    mutating func take(_ count: Int) -> ArraySlice<UInt8> {
        let taken = rest.prefix(count)
        rest = rest.dropFirst(count)
        return taken
    }

    /// The bytes before the next NUL, which is consumed as well; everything if there is none.
    mutating func field() -> ArraySlice<UInt8> {
        let field = rest.prefix { $0 != 0 }
        rest = rest.dropFirst(field.count + 1)
        return field
    }

    /// Everything that is left.
    mutating func buffer() -> ByteBuffer { ByteBuffer(bytes: take(rest.count)) }

    /// Everything that is left; what is no UTF-8 is replaced.
    mutating func text() -> String { String(decoding: take(rest.count), as: UTF8.self) }
}
