import NIOCore

/// The input of both decoders: takes chunks, returns lines and blobs, and reads no byte twice.
///
/// Incomplete data at the end of a chunk are copied into `line` or `blob`, so that every chunk is used up: appending to
/// a buffer with living slices would copy it whole, again and again. A blob that lies completely in one chunk is a
/// slice of it. Memory is never reserved because a header announces it.
struct RESPFeed {
    private(set) var input = ByteBuffer()
    private var line: [UInt8] = []
    private var blob = ByteBuffer()
    private var needsBlob = -1
    /// Whether the last byte was the CR of an empty line.
    private var isAfterReturn = false
    /// Number of bytes of the present frame.
    private(set) var frameBytes = 0
    /// Number of bytes examined since the beginning; a test compares it with the bytes fed.
    private(set) var bytesExamined = 0

    /// A simple string or error longer than this is an error, however it is split.
    static let maximumLineBytes = 64 << 10
    /// A header has a type, at most 16 digits, and CR LF.
    static let maximumHeaderBytes = 32

    mutating func feed(_ chunk: ByteBuffer) {
        if input.readableBytes == 0 {
            input = chunk
        } else {
            // This happens only when reading was paused in the middle of a chunk.
            input.writeImmutableBuffer(chunk)
        }
    }

    /// Bytes of memory that are held for incomplete data.
    var heldBytes: Int { input.readableBytes + line.count + blob.storageCapacity }

    /// Bytes of memory that incomplete data need, as far as it is known.
    var neededBytes: Int { input.readableBytes + line.count + (needsBlob < 0 ? 0 : needsBlob + 2) }

    /// Number of missing bytes of the blob that has begun; 0: none has.
    var missingBlobBytes: Int { needsBlob < 0 ? 0 : needsBlob + 2 - blob.readableBytes }

    mutating func beginFrame() { frameBytes = 0 }

    /// Skips LF and CR LF between two frames. Returns whether something else follows.
    mutating func skipEmptyLines() throws(RESPError) -> Bool {
        while let byte = input.getInteger(at: input.readerIndex, as: UInt8.self) {
            switch byte {
            case 10: isAfterReturn = false
            case 13 where !isAfterReturn: isAfterReturn = true
            default:
                if isAfterReturn { throw .expectedArray }
                return true
            }
            input.moveReaderIndex(forwardBy: 1)
            bytesExamined += 1
        }
        return false
    }

    /// Reads a header that lies completely in the present chunk and is well-formed: a type, plain digits, CR LF.
    /// Otherwise consumes nothing: ``readLine(limit:)`` then reports the fault.
    @inline(__always)
    mutating func readHeader() -> (type: UInt8, number: UInt64)? {
        guard line.isEmpty, input.readableBytes >= 4 else { return nil }
        let header = input.withUnsafeReadableBytes { Self.scanHeader($0, at: 0, digits: PlainNumber.maximumDigits) }
        guard let header, header.number <= WireLimits.maximumNumber, header.type != 13, header.type != 10 else {
            return nil
        }
        input.moveReaderIndex(forwardBy: header.end)
        bytesExamined += header.end
        frameBytes += header.end
        return (header.type, header.number)
    }

    /// Reads the arguments of a command that lies completely in the present chunk, has few of them and is well-formed.
    /// Otherwise consumes nothing: the command is then read piece by piece. Only between two frames.
    mutating func readCommand(limits: WireLimits) -> [ByteBuffer]? {
        guard input.readableBytes >= Self.leastCommandBytes, !isAfterReturn else { return nil }
        return withUnsafeTemporaryAllocation(of: Range<Int>.self, capacity: Self.usualArguments) { places in
            let (count, taken) = input.withUnsafeReadableBytes { Self.scanCommand($0, limits, places) }
            guard count > 0 else { return nil }
            let start = input.readerIndex
            var arguments: [ByteBuffer] = []
            arguments.reserveCapacity(count)
            for place in places[..<count] {
                guard let argument = input.getSlice(at: start + place.lowerBound, length: place.count) else {
                    return nil
                }
                arguments.append(argument)
            }
            input.moveReaderIndex(forwardBy: taken)
            bytesExamined += taken
            frameBytes = taken
            return arguments
        }
    }

    /// The fast path takes at most this many arguments, so no memory is reserved because a header announces more.
    static let usualArguments = 16
    /// `*1`, `$1`, a byte, and the ends of their lines.
    private static let leastCommandBytes = 11

    /// The places of the command's arguments, and its end; no arguments: ``readCommand(limits:)`` consumes nothing.
    private static func scanCommand(
        _ bytes: UnsafeRawBufferPointer, _ limits: WireLimits, _ places: UnsafeMutableBufferPointer<Range<Int>>
    ) -> (count: Int, taken: Int) {
        var end = 0
        guard let count = scanHeader(UInt8(ascii: "*"), bytes, &end), count > 0,
            count <= min(usualArguments, limits.frameElements)
        else { return (0, 0) }
        for index in 0..<count {
            guard let length = scanHeader(UInt8(ascii: "$"), bytes, &end), end + length <= limits.frameBytes,
                end + length + 2 <= bytes.count, bytes[end + length] == 13, bytes[end + length + 1] == 10
            else { return (0, 0) }
            places[index] = end..<end + length
            end += length + 2
        }
        return (count, end)
    }

    /// The number of a header of this type at `place`, which is moved behind it. Numbers of more digits are left to the
    /// slow path, which knows their limit.
    @inline(__always)
    private static func scanHeader(
        _ type: UInt8, _ bytes: UnsafeRawBufferPointer, _ place: inout Int
    ) -> Int? {
        guard place < bytes.count, bytes[place] == type, let header = scanHeader(bytes, at: place, digits: 8)
        else { return nil }
        place = header.end
        return Int(truncatingIfNeeded: header.number)
    }

    /// A type, 1 to `digits` plain digits without leading zeros, and CR LF; `nil` if anything else stands there.
    @inline(__always)
    private static func scanHeader(
        _ bytes: UnsafeRawBufferPointer, at start: Int, digits: Int
    ) -> (type: UInt8, number: UInt64, end: Int)? {
        var place = start + 1
        let last = min(bytes.count, place + digits)
        var number: UInt64 = 0
        while place < last {
            let digit = bytes[place] &- UInt8(ascii: "0")
            guard digit <= 9 else { break }
            number = number &* 10 &+ UInt64(digit)
            place += 1
        }
        let count = place - start - 1
        guard count > 0, count == 1 || bytes[start + 1] != UInt8(ascii: "0"), place + 1 < bytes.count,
            bytes[place] == 13, bytes[place + 1] == 10
        else { return nil }
        return (bytes[start], number, place + 2)
    }

    /// The bytes of a line without its CR LF; `nil`: it is incomplete.
    mutating func readLine(limit: Int = maximumLineBytes) throws(RESPError) -> [UInt8]? {
        var failure: RESPError?
        var isComplete = false
        var taken = 0
        let partial = line.count
        input.withUnsafeReadableBytes { bytes in
            var last = line.last
            for byte in bytes {
                taken += 1
                if byte == 10 {
                    if last == 13 { isComplete = true } else { failure = .invalidLineEnd }
                    return
                }
                if last == 13 {
                    failure = .invalidLineEnd
                    return
                }
                if partial + taken > limit {
                    failure = .lineTooLong
                    return
                }
                last = byte
                line.append(byte)
            }
        }
        input.moveReaderIndex(forwardBy: taken)
        bytesExamined += taken
        frameBytes += taken
        if let failure { throw failure }
        guard isComplete else { return nil }
        line.removeLast()
        defer { line.removeAll(keepingCapacity: true) }
        return line
    }

    /// `length` bytes and the CR LF after them; `nil`: they are incomplete.
    mutating func readBlob(_ length: Int) throws(RESPError) -> ByteBuffer? {
        if needsBlob < 0 {
            if input.readableBytes >= length + 2, let slice = input.readSlice(length: length) {
                bytesExamined += length
                frameBytes += length
                try readBlobEnd()
                return slice
            }
            needsBlob = length
        }
        let missing = needsBlob + 2 - blob.readableBytes
        let available = min(missing, input.readableBytes)
        if let part = input.readSlice(length: available) {
            blob.writeImmutableBuffer(part)
            bytesExamined += available
            frameBytes += available
        }
        guard available == missing else { return nil }
        let end = blob.getBytes(at: blob.readerIndex + needsBlob, length: 2)
        guard end == [13, 10] else { throw .invalidLineEnd }
        let whole = blob.getSlice(at: blob.readerIndex, length: needsBlob)
        blob = ByteBuffer()
        needsBlob = -1
        return whole ?? ByteBuffer()
    }

    private mutating func readBlobEnd() throws(RESPError) {
        guard let end = input.readInteger(as: UInt16.self), end == 0x0d0a else { throw .invalidLineEnd }
        bytesExamined += 2
        frameBytes += 2
    }
}
