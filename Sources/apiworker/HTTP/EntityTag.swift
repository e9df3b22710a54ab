import CCrypto
import NIOCore
import Notation

/// The `ETag` of a body (RFC 9110, section 8.8.3): the first 192 bits of its SHA-256. All workers of all hosts give equal
/// bodies equal tags, and nobody can make two bodies of one tag.
struct EntityTag: Sendable, Hashable, CustomStringConvertible {
    /// The tag as in `ETag`, in quotes.
    let description: String

    init(of body: ByteBuffer) {
        let words = body.withUnsafeReadableBytes { bytes in
            withUnsafeTemporaryAllocation(of: UInt64.self, capacity: 4) { hash in
                let output = UnsafeMutableRawPointer(hash.baseAddress)?.assumingMemoryBound(to: UInt8.self)
                SHA256(bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), bytes.count, output)
                return hash[..<3].map { $0.bigEndian.padded(16, radix: 16) }
            }
        }
        description = "\"\(words.joined())\""
    }

    /// The tag of the same body in gzip: other bytes, another tag.
    var ofGzip: String { description.dropLast() + "-gzip\"" }

    /// Whether `If-None-Match` names `tag`, given as in `ETag` (RFC 9110, section 13.1.2): `*`, or a list in which weak
    /// and strong tags are the same. A malformed tag matches nothing.
    static func isNamed(_ tag: String, in ifNoneMatch: String) -> Bool {
        let wanted = tag.utf8[...]
        var rest = ifNoneMatch.utf8[...].trimmed
        if rest.elementsEqual("*".utf8) { return true }
        while !rest.isEmpty {
            if rest.starts(with: "W/".utf8) { rest = rest.dropFirst(2) }
            if rest.first == quote, let end = rest.dropFirst().firstIndex(of: quote) {
                let opaque = rest[...end]
                rest = rest[rest.index(after: end)...].trimmed
                // A comma inside a tag is a part of it; only a comma after the tag separates.
                if rest.isEmpty || rest.first == comma, opaque.elementsEqual(wanted) { return true }
            }
            guard let separator = rest.firstIndex(of: comma) else { return false }
            rest = rest[rest.index(after: separator)...].trimmed
        }
        return false
    }

    private static let quote = UInt8(ascii: "\"")
    private static let comma = UInt8(ascii: ",")
}

extension Substring.UTF8View {
    /// The bytes without surrounding spaces and tabs.
    fileprivate var trimmed: Substring.UTF8View {
        func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
        guard let last = lastIndex(where: { !isSpace($0) }) else { return self[endIndex...] }
        return self[...last].drop(while: isSpace)
    }
}
