import NIOCore

/// Decodes replies and pushes, RESP2 and RESP3. For the client's side of a connection.
///
/// The decoder is bounded, resumable, and linear in the bytes it is fed, however they are split: incomplete aggregates
/// are on a stack. After an error it is poisoned and gives the same error for ever.
package struct RESPDecoder: Sendable {
    private enum Kind: Sendable {
        case array, map, set, push, attribute
    }

    private struct Frame: Sendable {
        var kind: Kind
        var missing: Int
        var values: [RESPValue] = []
    }

    private enum BlobKind: Sendable {
        case bulkString, error, verbatim
    }

    private var feed = RESPFeed()
    /// The aggregate that is being read; `nil`: none has begun.
    private var frame: Frame?
    /// The enclosing aggregates, the outermost first.
    private var outer: [Frame] = []
    private var blob: (kind: BlobKind, length: Int)?
    private var isInsideLine = false
    private var elements = 0
    private var failure: RESPError?
    private let limits: WireLimits

    /// A decoder at the beginning of a connection.
    package init(limits: WireLimits) { self.limits = limits }

    /// Number of bytes examined so far. Never more than were fed; the beginning of an incomplete frame is read twice.
    var bytesExamined: Int { feed.bytesExamined }

    /// Bytes of memory that are held for an incomplete frame, apart from its values.
    var heldBytes: Int { feed.heldBytes }

    /// Number of missing bytes of the string that has begun; 0: none has.
    package var missingBytes: Int { feed.missingBlobBytes }

    /// Appends bytes of the connection. After an error they are dropped.
    package mutating func feed(_ chunk: ByteBuffer) {
        if failure == nil { feed.feed(chunk) }
    }

    /// The next frame; `nil`: it is incomplete. Attributes are skipped.
    package mutating func next() throws(RESPError) -> RESPValue? {
        if let failure { throw failure }
        do throws(RESPError) {
            while true {
                guard let value = try readValue() else { return nil }
                if let whole = complete(value) { return whole }
            }
        } catch {
            failure = error
            (frame, outer) = (nil, [])
            feed = RESPFeed()
            throw error
        }
    }

    /// Stores a value in its aggregate; returns the frame if that was its last value.
    private mutating func complete(_ value: RESPValue) -> RESPValue? {
        var value = value
        while frame != nil {
            frame?.values.append(value)
            frame?.missing -= 1
            guard let ended = frame, ended.missing == 0 else { return nil }
            frame = outer.popLast()
            switch ended.kind {
            case .array: value = .array(ended.values)
            case .map: value = .map(ended.values)
            case .set: value = .set(ended.values)
            case .push: value = .push(ended.values)
            // An attribute describes the value that follows, which takes its place.
            case .attribute: return nil
            }
        }
        return value
    }

    /// A value without parts, or an empty aggregate; `.some(nil)` cannot happen: an aggregate that begins is put on the
    /// stack and reading continues.
    private mutating func readValue() throws(RESPError) -> RESPValue? {
        while true {
            if let (kind, length) = blob {
                guard let bytes = try feed.readBlob(length) else { return nil }
                blob = nil
                return try finish(kind, bytes)
            }
            if !isInsideLine {
                guard feed.input.readableBytes > 0 else { return nil }
                if frame == nil {
                    feed.beginFrame()
                    elements = 0
                }
                isInsideLine = true
            }
            if let header = feed.readHeader() {
                isInsideLine = false
                guard feed.frameBytes <= limits.frameBytes else { throw .frameTooLarge(limit: limits.frameBytes) }
                if let value = try readHeader(header.type, header.number) { return value }
                continue
            }
            guard let line = try feed.readLine() else { return nil }
            isInsideLine = false
            guard feed.frameBytes <= limits.frameBytes else { throw .frameTooLarge(limit: limits.frameBytes) }
            if let value = try readHeader(line) { return value }
        }
    }

    private func finish(_ kind: BlobKind, _ bytes: ByteBuffer) throws(RESPError) -> RESPValue {
        switch kind {
        case .bulkString: return .bulkString(bytes)
        case .error: return .error(bytes)
        case .verbatim:
            guard bytes.getInteger(at: bytes.readerIndex + 3, as: UInt8.self) == UInt8(ascii: ":") else {
                throw .invalidLength
            }
            return .verbatim(bytes)
        }
    }

    /// Decodes a line with a type and a number; the usual case of ``readHeader(_:)``.
    private mutating func readHeader(_ type: UInt8, _ number: UInt64) throws(RESPError) -> RESPValue? {
        switch type {
        case UInt8(ascii: ":"): return .integer(Int64(number))
        case UInt8(ascii: "$"): return try beginBlob(.bulkString, length: number)
        case UInt8(ascii: "!"): return try beginBlob(.error, length: number)
        case UInt8(ascii: "="): return try beginBlob(.verbatim, length: number)
        case UInt8(ascii: "*"): return try begin(.array, count: number, partsPerElement: 1)
        case UInt8(ascii: "%"): return try begin(.map, count: number, partsPerElement: 2)
        case UInt8(ascii: "~"): return try begin(.set, count: number, partsPerElement: 1)
        case UInt8(ascii: ">"): return try begin(.push, count: number, partsPerElement: 1)
        case UInt8(ascii: "|"): return try begin(.attribute, count: number, partsPerElement: 2)
        default: return try readHeader([type] + Array(String(number).utf8))
        }
    }

    /// Decodes a line: returns a whole value, or `nil` when a blob or the parts of an aggregate follow.
    private mutating func readHeader(_ line: [UInt8]) throws(RESPError) -> RESPValue? {
        guard let type = line.first else { throw .unknownType }
        let rest = line.dropFirst()
        switch type {
        case UInt8(ascii: "+"): return .simpleString(ByteBuffer(bytes: rest))
        case UInt8(ascii: "-"): return .error(ByteBuffer(bytes: rest))
        case UInt8(ascii: ":"):
            guard let number = PlainNumber.parseSigned(rest) else { throw .invalidNumber }
            return .integer(number)
        case UInt8(ascii: "$"): return try beginBlob(.bulkString, rest)
        case UInt8(ascii: "!"): return try beginBlob(.error, rest)
        case UInt8(ascii: "="): return try beginBlob(.verbatim, rest)
        case UInt8(ascii: "*"): return try begin(.array, rest, partsPerElement: 1)
        case UInt8(ascii: "%"): return try begin(.map, rest, partsPerElement: 2)
        case UInt8(ascii: "~"): return try begin(.set, rest, partsPerElement: 1)
        case UInt8(ascii: ">"): return try begin(.push, rest, partsPerElement: 1)
        case UInt8(ascii: "|"): return try begin(.attribute, rest, partsPerElement: 2)
        case UInt8(ascii: "_"):
            guard rest.isEmpty else { throw .invalidLength }
            return .null
        case UInt8(ascii: "#"):
            guard rest.count == 1, let letter = rest.first, letter == UInt8(ascii: "t") || letter == UInt8(ascii: "f")
            else { throw .invalidNumber }
            return .boolean(letter == UInt8(ascii: "t"))
        case UInt8(ascii: ","):
            guard let number = Self.double(rest) else { throw .invalidNumber }
            return .double(number)
        case UInt8(ascii: "("):
            let digits = rest.first == UInt8(ascii: "-") ? rest.dropFirst() : rest
            guard !digits.isEmpty, digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else {
                throw .invalidNumber
            }
            return .bigNumber(ByteBuffer(bytes: rest))
        default: throw .unknownType
        }
    }

    private static func double(_ text: ArraySlice<UInt8>) -> Double? {
        guard text.count <= 64 else { return nil }
        return switch String(decoding: text, as: UTF8.self) {
        case "inf": .infinity
        case "-inf": -.infinity
        case "nan": .nan
        case let other: text.allSatisfy { "+-.0123456789eE".utf8.contains($0) } ? Double(other) : nil
        }
    }

    private mutating func beginBlob(_ kind: BlobKind, _ digits: ArraySlice<UInt8>) throws(RESPError) -> RESPValue? {
        if digits.elementsEqual("-1".utf8), kind == .bulkString { return .null }
        if digits.elementsEqual("?".utf8) { throw .streamedType }
        guard let length = PlainNumber.parse(digits) else { throw .invalidLength }
        return try beginBlob(kind, length: length)
    }

    private mutating func beginBlob(_ kind: BlobKind, length: UInt64) throws(RESPError) -> RESPValue? {
        guard length <= UInt64(limits.frameBytes), feed.frameBytes + Int(length) <= limits.frameBytes else {
            throw .frameTooLarge(limit: limits.frameBytes)
        }
        blob = (kind, Int(length))
        return nil
    }

    private mutating func begin(
        _ kind: Kind, _ digits: ArraySlice<UInt8>, partsPerElement: Int
    ) throws(RESPError) -> RESPValue? {
        if digits.elementsEqual("-1".utf8), kind == .array { return .null }
        if digits.elementsEqual("?".utf8) { throw .streamedType }
        guard let count = PlainNumber.parse(digits) else { throw .invalidLength }
        return try begin(kind, count: count, partsPerElement: partsPerElement)
    }

    private mutating func begin(
        _ kind: Kind, count: UInt64, partsPerElement: Int
    ) throws(RESPError) -> RESPValue? {
        guard count <= UInt64(limits.frameElements), elements + Int(count) * partsPerElement <= limits.frameElements
        else { throw .tooManyElements(limit: limits.frameElements) }
        let depth = frame == nil ? 0 : outer.count + 1
        guard depth < limits.nestingDepth else { throw .nestedTooDeep(limit: limits.nestingDepth) }
        elements += Int(count) * partsPerElement
        if count == 0 {
            switch kind {
            case .array: return .array([])
            case .map: return .map([])
            case .set: return .set([])
            case .push: return .push([])
            case .attribute: return nil
            }
        }
        if let frame { outer.append(frame) }
        frame = Frame(kind: kind, missing: Int(count) * partsPerElement)
        frame?.values.reserveCapacity(min(Int(count) * partsPerElement, RESPFeed.usualArguments))
        return nil
    }
}
