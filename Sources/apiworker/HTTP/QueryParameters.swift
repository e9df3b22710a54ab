import Notation

/// The parameters of a query, as browsers and `URLSearchParams` write them: `+` is a space, the rest is
/// percent-encoded. If a name occurs several times, the first counts.
struct QueryParameters: Sendable, Hashable {
    private var values: [String: String] = [:]

    /// Reads the text after the `?`.
    init(_ query: String?) {
        guard let query, !query.isEmpty else { return }
        for part in query.utf8.split(separator: UInt8(ascii: "&")) {
            let pair = part.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = pair.first.map(Self.decoded), values[name] == nil else { continue }
            values[name] = pair.count == 2 ? Self.decoded(pair[1]) : ""
        }
    }

    subscript(name: String) -> String? { values[name] }

    /// A `%` without two hexadecimal digits stays unchanged, bytes that are not UTF-8 are replaced.
    private static func decoded(_ text: Substring.UTF8View) -> String {
        String(
            decoding: PercentEncoding.decoded(text, plusIsSpace: true, keepsMalformed: true) ?? [], as: UTF8.self)
    }
}
