import NIOCore

/// Decodes requests, which are arrays of bulk strings. For syncd's side of a connection.
///
/// Empty lines between requests are skipped, as in Redis: `redis-cli --pipe` sends one. Inline commands are refused.
///
/// Bounded, resumable, and linear in the bytes it is fed, however they are split. After an error it is poisoned and
/// gives the same error for ever.
package struct CommandDecoder: Sendable {
    private enum State: Sendable {
        case betweenFrames
        /// The header of the next argument; `missing` arguments are still to come.
        case argumentHeader(missing: Int)
        case argument(length: Int, missing: Int)
    }

    private var feed = RESPFeed()
    private var state = State.betweenFrames
    private var arguments: [ByteBuffer] = []
    /// Number of bytes in ``arguments``.
    private var argumentBytes = 0
    /// Number of arguments that have been compacted or checked for it.
    private var compacted = 0
    private var failure: RESPError?
    private let limits: WireLimits

    /// A decoder at the beginning of a connection.
    package init(limits: WireLimits) { self.limits = limits }

    /// Number of bytes examined so far. Never more than were fed; the beginning of an incomplete frame is read twice.
    var bytesExamined: Int { feed.bytesExamined }

    /// Bytes of memory that are held for an incomplete command, apart from its arguments.
    var heldBytes: Int { feed.heldBytes }

    /// Number of missing bytes of the argument that has begun; 0: none has.
    package var missingBytes: Int { feed.missingBlobBytes }

    /// Memory that an incomplete command needs, as far as it is known, in bytes.
    package var neededBytes: Int {
        feed.neededBytes + argumentBytes + arguments.count * Self.argumentOverhead
    }

    /// Memory of an argument in addition to its bytes: the buffer, its place in the growing array, and its storage's
    /// share.
    private static let argumentOverhead = 64

    /// Whether all bytes that were fed have been returned in whole commands.
    package var isBetweenFrames: Bool {
        if case .betweenFrames = state { !isInsideHeader && feed.input.readableBytes == 0 } else { false }
    }

    /// Appends bytes of the connection. After an error they are dropped.
    package mutating func feed(_ chunk: ByteBuffer) {
        if failure == nil { feed.feed(chunk) }
    }

    /// The next command with its arguments, at least one; `nil`: it is incomplete.
    package mutating func next() throws(RESPError) -> [ByteBuffer]? {
        if let failure { throw failure }
        if case .betweenFrames = state, !isInsideHeader {
            if feed.input.readableBytes == 0 { return nil }
            if let command = feed.readCommand(limits: limits) { return command }
        }
        do throws(RESPError) {
            if case .betweenFrames = state, !isInsideHeader, try !feed.skipEmptyLines() { return nil }
            if let command = try advance() { return command }
            compact()
            return nil
        } catch {
            failure = error
            arguments = []
            argumentBytes = 0
            feed = RESPFeed()
            throw error
        }
    }

    /// Copies the arguments that were read from the present chunk, if they are a small part of it. A command that
    /// arrives in many small pieces must not keep every buffer alive that it was read with.
    private mutating func compact() {
        guard compacted < arguments.count else { return }
        let fresh = arguments[compacted...]
        compacted = arguments.count
        let bytes = fresh.reduce(0) { $0 + $1.readableBytes }
        guard let largest = fresh.lazy.map(\.storageCapacity).max(), largest > 2 * bytes + 64 else { return }
        var copy = ByteBuffer()
        copy.reserveCapacity(bytes)
        for argument in fresh { copy.writeImmutableBuffer(argument) }
        for index in fresh.indices {
            arguments[index] = copy.readSlice(length: arguments[index].readableBytes) ?? ByteBuffer()
        }
    }

    private mutating func advance() throws(RESPError) -> [ByteBuffer]? {
        while true {
            switch state {
            case .betweenFrames:
                if let type = feed.input.getInteger(at: feed.input.readerIndex, as: UInt8.self), !isInsideHeader {
                    guard type == UInt8(ascii: "*") else { throw .expectedArray }
                    feed.beginFrame()
                    isInsideHeader = true
                }
                guard let count = try readNumber() else { return nil }
                guard count > 0 else { throw .emptyCommand }
                guard count <= UInt64(limits.frameElements) else {
                    throw .tooManyElements(limit: limits.frameElements)
                }
                arguments.reserveCapacity(min(Int(count), RESPFeed.usualArguments))
                state = .argumentHeader(missing: Int(count))
            case .argumentHeader(0):
                state = .betweenFrames
                defer {
                    arguments = []
                    (compacted, argumentBytes) = (0, 0)
                }
                return arguments
            case .argumentHeader(let missing):
                if let type = feed.input.getInteger(at: feed.input.readerIndex, as: UInt8.self), !isInsideHeader {
                    guard type == UInt8(ascii: "$") else { throw .expectedBulkString }
                    isInsideHeader = true
                }
                guard let length = try readNumber() else { return nil }
                guard length <= UInt64(limits.frameBytes), feed.frameBytes + Int(length) <= limits.frameBytes else {
                    throw .frameTooLarge(limit: limits.frameBytes)
                }
                state = .argument(length: Int(length), missing: missing)
            case .argument(let length, let missing):
                guard let argument = try feed.readBlob(length) else { return nil }
                arguments.append(argument)
                argumentBytes += argument.readableBytes
                state = .argumentHeader(missing: missing - 1)
            }
        }
    }

    /// The type byte of the present header has been checked.
    private var isInsideHeader = false

    /// The number of the present header; `nil`: it is incomplete.
    @inline(__always)
    private mutating func readNumber() throws(RESPError) -> UInt64? {
        if let header = feed.readHeader() {
            isInsideHeader = false
            return header.number
        }
        guard let line = try feed.readLine(limit: RESPFeed.maximumHeaderBytes) else { return nil }
        isInsideHeader = false
        guard let number = PlainNumber.parse(line.dropFirst()) else { throw .invalidLength }
        return number
    }
}
