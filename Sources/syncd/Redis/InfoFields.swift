import NIOCore

/// The fields of a server's INFO: `name:value`, one a line.
struct InfoFields: Sendable, Equatable {
    private var fields: [Substring: Substring] = [:]

    /// The complete INFO of a server has some ten thousand bytes. Longer text is ignored.
    private static let maximumBytes = 256 << 10

    init(_ reply: ByteBuffer) {
        let text = reply.getSlice(at: reply.readerIndex, length: min(reply.readableBytes, Self.maximumBytes))
        self.init(String(buffer: text ?? ByteBuffer()))
    }

    /// The first of several fields of one name counts.
    init(_ text: String) {
        for line in text.split(whereSeparator: \.isNewline) {
            guard let colon = line.firstIndex(of: ":") else { continue }
            let name = line[..<colon]
            if fields[name] == nil { fields[name] = line[line.index(after: colon)...] }
        }
    }

    /// The value unchanged; `nil`: not shown.
    subscript(name: String) -> Substring? { fields[name[...]] }

    /// The value as a number; `nil`: not shown, or no number.
    func number(_ name: String) -> UInt64? { self[name].flatMap { UInt64($0) } }

    /// The value, shortened for the log and for people; `nil`: not shown.
    func shown(_ name: String) -> String? { self[name].map(Self.shown) }

    var names: some Sequence<Substring> { fields.keys.sorted() }

    /// A text of the server, shortened for the log and for people.
    static func shown(_ text: some StringProtocol) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.filter { (0x20...0x7e).contains($0.value) }.prefix(64)))
    }
}
