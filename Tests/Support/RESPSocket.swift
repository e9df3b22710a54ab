import IPCWire
import NIOCore

/// A raw client of syncd or Redis: sends any bytes, valid or not, and reads the replies. For one task at a time.
package actor RESPSocket {
    private let socket: ClientSocket
    private var decoder = RESPDecoder(limits: WireLimits())
    private var replies: [RESPValue] = []
    private var waitingPushes: [[RESPValue]] = []
    private var hasEnded = false

    /// Connects to a Unix socket.
    package init(path: String) throws { socket = try ClientSocket(path: path) }

    /// Connects to a port of 127.0.0.1.
    package init(port: Int) throws { socket = try ClientSocket(port: port) }

    // MARK: Sending

    /// Sends a command and returns its reply.
    @discardableResult
    package func command(_ arguments: String..., within limit: Duration = .seconds(5)) async throws -> RESPValue {
        try await command(arguments.map { ByteBuffer(string: $0) }, within: limit)
    }

    /// Sends a command whose arguments are any bytes and returns its reply.
    @discardableResult
    package func command(_ arguments: [ByteBuffer], within limit: Duration = .seconds(5)) async throws -> RESPValue {
        try await send(arguments)
        return try await reply(within: limit)
    }

    /// Sends a command without waiting for its reply.
    package func send(_ arguments: String...) async throws { try await send(arguments.map { ByteBuffer(string: $0) }) }

    /// Sends a command without waiting for its reply.
    package func send(_ arguments: [ByteBuffer]) async throws {
        var writer = RESPWriter(version: .v2)
        writer.arrayHeader(arguments.count)
        for argument in arguments { writer.bulkString(argument) }
        try await send(bytes: writer.buffer)
    }

    /// Sends text unchanged.
    package func send(raw text: String) async throws { try await send(bytes: ByteBuffer(string: text)) }

    /// Sends bytes unchanged.
    package func send(bytes: ByteBuffer, within limit: Duration = .seconds(5)) async throws {
        try await socket.send(bytes, within: limit)
    }

    /// Closes the output; replies can still be read.
    package func shutdownWriting() { socket.shutdownWriting() }

    /// Shrinks the kernel's buffer of a slow reader.
    package func setReceiveBuffer(bytes: Int32) { socket.setReceiveBuffer(bytes: bytes) }

    // MARK: Receiving

    /// The next reply.
    package func reply(within limit: Duration = .seconds(5)) async throws -> RESPValue {
        guard let reply = try await next(within: limit, { replies.isEmpty ? nil : replies.removeFirst() }) else {
            let end = hasEnded ? ": it closed the connection" : ""
            throw TestFailure("no reply from \(socket.name) within \(limit)\(end)")
        }
        return reply
    }

    /// The next push that matches; others before it are dropped. `nil`: none came in time.
    package func push(
        _ kind: String, within limit: Duration = .seconds(5),
        where fits: @Sendable ([RESPValue]) -> Bool = { _ in true }
    ) async throws -> [RESPValue]? {
        try await next(within: limit) {
            while !waitingPushes.isEmpty {
                let push = waitingPushes.removeFirst()
                if push.first?.string == kind, fits(push) { return push }
            }
            return nil
        }
    }

    /// Every push that has arrived and was not read.
    package func pushes() throws -> [[RESPValue]] {
        try receive()
        defer { waitingPushes.removeAll() }
        return waitingPushes
    }

    /// Whether the other side closes the connection in time.
    package func closes(within limit: Duration = .seconds(5)) async throws -> Bool {
        try await next(within: limit) { hasEnded ? true : nil } ?? false
    }

    /// Reads until `take` returns a value, the connection ends or the time is over.
    private func next<Value>(within limit: Duration, _ take: () -> Value?) async throws -> Value? {
        let deadline = PatientClock.now + limit
        while true {
            try receive()
            if let value = take() { return value }
            guard !hasEnded, PatientClock.now < deadline else { return nil }
            try await socket.waitAWhile()
        }
    }

    /// Reads the bytes that have arrived.
    private func receive() throws {
        while !hasEnded {
            switch socket.receive() {
            case .bytes(let bytes): decoder.feed(bytes)
            case .nothingYet: return
            case .ended: hasEnded = true
            }
            while let value = try decoder.next() {
                if case .push(let parts) = value { waitingPushes.append(parts) } else { replies.append(value) }
            }
        }
    }
}
