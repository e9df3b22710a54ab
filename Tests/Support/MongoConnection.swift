import NIOCore

/// A minimal client of MongoDB: one command at a time as OP_MSG
/// (https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/).
package actor MongoConnection {
    private let socket: ClientSocket
    private var input = ByteBuffer()
    private var lastRequest: Int32 = 0

    private static let messageOperation: Int32 = 2013

    /// Connects to a port of 127.0.0.1.
    package init(port: Int) throws { socket = try ClientSocket(port: port) }

    /// Runs a command and returns the answer; throws if the server refuses it.
    @discardableResult
    package func command(
        _ command: BSONDocument, database: String = "admin", within limit: Duration = .seconds(30)
    ) async throws -> BSONDocument {
        var command = command
        command["$db"] = .string(database)
        lastRequest += 1
        try await socket.send(Self.message(command, id: lastRequest), within: limit)
        let answer = try await receive(within: limit)
        guard answer["ok"]?.number == 1 else {
            let reason = answer["errmsg"]?.string ?? "\(answer)"
            throw TestFailure("MongoDB refuses \(command.names.first ?? ""): \(reason)")
        }
        return answer
    }

    /// The encoded command; `$db` names its database.
    package static func message(_ command: BSONDocument, id: Int32) -> ByteBuffer {
        var body = ByteBuffer()
        body.writeInteger(UInt32(0), endianness: .little)  // No flags.
        body.writeInteger(UInt8(0))  // A section with one document.
        command.encode(into: &body)
        var message = ByteBuffer()
        for number in [Int32(16 + body.readableBytes), id, 0, messageOperation] {
            message.writeInteger(number, endianness: .little)
        }
        message.writeImmutableBuffer(body)
        return message
    }

    private func receive(within limit: Duration) async throws -> BSONDocument {
        let deadline = PatientClock.now + limit
        while true {
            if let length = input.getInteger(at: input.readerIndex, endianness: .little, as: Int32.self), length >= 21,
                var message = input.readSlice(length: Int(length))
            {
                // Header, flags and the kind of the section.
                message.moveReaderIndex(forwardBy: 21)
                return try BSONDocument(decoding: &message)
            }
            switch socket.receive() {
            case .bytes(var bytes): input.writeBuffer(&bytes)
            case .ended: throw TestFailure("MongoDB closed the connection")
            case .nothingYet:
                guard PatientClock.now < deadline else {
                    throw TestFailure("MongoDB did not answer within \(limit)")
                }
                try await socket.waitAWhile()
            }
        }
    }
}
