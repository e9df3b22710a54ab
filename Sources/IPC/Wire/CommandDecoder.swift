import NIOCore

/// Decodes requests: arrays of bulk strings and nothing else. For syncd's side of a connection.
///
/// Bounded, resumable, and linear in the bytes it is fed, however they are split. After an error it is poisoned and
/// gives the same error for ever.
public struct CommandDecoder: Sendable {
    private enum State: Sendable {
        case betweenFrames
        /// The header of the next argument; so many are missing.
        case argumentHeader(missing: Int)
        case argument(length: Int, missing: Int)
    }

    private var feed = RESPFeed()
    private var state = State.betweenFrames
    private var arguments: [ByteBuffer] = []
    private var failure: RESPError?
    private let limits: WireLimits

    public init(limits: WireLimits) { self.limits = limits }

    /// Bytes looked at so far. Never more than were fed.
    var bytesExamined: Int { feed.bytesExamined }

    /// Takes more bytes of the connection.
    public mutating func feed(_ chunk: ByteBuffer) { feed.feed(chunk) }

    /// The next command with its arguments, at least one; `nil`: it is not complete yet.
    public mutating func next() throws(RESPError) -> [ByteBuffer]? {
        if let failure { throw failure }
        do throws(RESPError) {
            return try advance()
        } catch {
            failure = error
            arguments = []
            throw error
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
                guard let line = try feed.readLine(limit: RESPFeed.maximumHeaderBytes) else { return nil }
                isInsideHeader = false
                guard let count = PlainNumber.parse(line.dropFirst()) else { throw .invalidLength }
                guard count > 0 else { throw .emptyCommand }
                guard count <= UInt64(limits.frameElements) else {
                    throw .tooManyElements(limit: limits.frameElements)
                }
                state = .argumentHeader(missing: Int(count))
            case .argumentHeader(0):
                state = .betweenFrames
                defer { arguments = [] }
                return arguments
            case .argumentHeader(let missing):
                if let type = feed.input.getInteger(at: feed.input.readerIndex, as: UInt8.self), !isInsideHeader {
                    guard type == UInt8(ascii: "$") else { throw .expectedBulkString }
                    isInsideHeader = true
                }
                guard let line = try feed.readLine(limit: RESPFeed.maximumHeaderBytes) else { return nil }
                isInsideHeader = false
                guard let length = PlainNumber.parse(line.dropFirst()) else { throw .invalidLength }
                guard length <= UInt64(limits.frameBytes), feed.frameBytes + Int(length) <= limits.frameBytes else {
                    throw .frameTooLarge(limit: limits.frameBytes)
                }
                state = .argument(length: Int(length), missing: missing)
            case .argument(let length, let missing):
                guard let argument = try feed.readBlob(length) else { return nil }
                arguments.append(argument)
                state = .argumentHeader(missing: missing - 1)
            }
        }
    }

    /// The type byte of the present header has been checked.
    private var isInsideHeader = false
}
