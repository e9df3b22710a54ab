import NIOCore

/// A page's connection for server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), read
/// as browsers do. For one task at a time.
package actor EventSource {
    package struct Event: Sendable, Equatable, CustomStringConvertible {
        package var name: String
        package var data: String
        package var description: String { "\(name): \(data)" }

        package init(_ name: String, _ data: String) { (self.name, self.data) = (name, data) }
    }

    private let socket: ClientSocket
    private var input = ByteBuffer()
    private var hasEnded = false
    /// The head of the response.
    package private(set) var head = HTTPReply(status: 0, headers: [], body: ByteBuffer())
    /// Bytes of the chunks that are not a complete line yet.
    private var stream = ByteBuffer()
    /// Whether the last chunk has arrived.
    private var isComplete = false
    private var name = ""
    private var data: [String] = []
    private var events: [Event] = []
    /// Number of comments so far.
    package private(set) var comments = 0

    /// Connects to a port of 127.0.0.1 and sends the request; waits for the head of the response.
    ///
    /// - Parameter receiveBuffer: size of the kernel's buffer in bytes, for a slow reader.
    package init(
        port: Int, path: String = "/api/events", headers: [(String, String)] = [], version: String = "1.1",
        receiveBuffer: Int32? = nil
    ) async throws {
        socket = try ClientSocket(port: port)
        if let receiveBuffer { socket.setReceiveBuffer(bytes: receiveBuffer) }
        let lines = headers.map { "\($0.0): \($0.1)\r\n" }.joined()
        try await send("GET \(path) HTTP/\(version)\r\nHost: test\r\nAccept: text/event-stream\r\n\(lines)\r\n")
        try await readHead()
    }

    /// Sends text unchanged.
    package func send(_ text: String) async throws {
        try await socket.send(ByteBuffer(string: text), within: .seconds(5))
    }

    /// Closes the output.
    package func shutdownWriting() { socket.shutdownWriting() }

    /// The next event; comments are counted.
    package func next(within limit: Duration = .seconds(10)) async throws -> Event {
        guard let event = try await wait(limit, { events.isEmpty ? nil : events.removeFirst() }) else {
            throw TestFailure("no event from \(socket.name) within \(limit)\(hasEnded ? ": it has ended" : "")")
        }
        return event
    }

    /// The next event of a name; others before it are dropped.
    package func next(_ name: String, within limit: Duration = .seconds(10)) async throws -> Event {
        while true {
            let event = try await next(within: limit)
            if event.name == name { return event }
        }
    }

    /// Waits for this number of comments.
    package func waitForComments(_ count: Int, within limit: Duration = .seconds(20)) async throws -> Bool {
        try await wait(limit) { comments >= count ? true : nil } ?? false
    }

    /// Whether the other side ends the connection in time.
    package func closes(within limit: Duration = .seconds(10)) async throws -> Bool {
        try await wait(limit) { hasEnded ? true : nil } ?? false
    }

    /// Whether the response was complete by HTTP's rules, and not cut.
    package var isFinished: Bool { isComplete || (hasEnded && head["transfer-encoding"] == nil) }

    // MARK: Reading

    private func wait<Value: Sendable>(_ limit: Duration, _ take: () -> Value?) async throws -> Value? {
        let deadline = PatientClock.now + limit
        while true {
            if let value = take() { return value }
            guard !hasEnded, PatientClock.now < deadline else { return nil }
            try await receive()
            try readChunks()
            readLines()
        }
    }

    private func receive() async throws {
        switch socket.receive() {
        case .bytes(var bytes): input.writeBuffer(&bytes)
        case .nothingYet: try await socket.waitAWhile()
        case .ended: hasEnded = true
        }
    }

    private func readHead() async throws {
        let deadline = PatientClock.now + .seconds(15)
        while true {
            if let end = input.readableBytesView.firstRange(of: Array("\r\n\r\n".utf8)) {
                let text = input.readString(length: end.upperBound - input.readerIndex) ?? ""
                let lines = text.split(separator: "\r\n")
                guard let status = lines.first?.split(separator: " ").dropFirst().first.flatMap({ Int($0) }) else {
                    throw TestFailure("no HTTP: \(text)")
                }
                head.status = status
                head.headers = lines.dropFirst().map { line in
                    let parts = line.split(separator: ":", maxSplits: 1)
                    return (String(parts[0]).lowercased(), parts.count > 1 ? String(parts[1].dropFirst()) : "")
                }
                return
            }
            guard !hasEnded, PatientClock.now < deadline else { throw TestFailure("no head from \(socket.name)") }
            try await receive()
        }
    }

    private func readChunks() throws {
        guard head["transfer-encoding"] == "chunked" else {
            stream.writeBuffer(&input)
            return
        }
        while let end = input.readableBytesView.firstRange(of: Array("\r\n".utf8)) {
            let digits = String(decoding: input.readableBytesView[..<end.lowerBound], as: UTF8.self)
            guard !isComplete, let length = Int(digits, radix: 16) else { throw TestFailure("no chunk: \(digits)") }
            let size = end.upperBound - input.readerIndex
            guard input.readableBytes >= size + length + 2 else { return }
            input.moveReaderIndex(forwardBy: size)
            if var chunk = input.readSlice(length: length) { stream.writeBuffer(&chunk) }
            input.moveReaderIndex(forwardBy: 2)
            isComplete = length == 0
        }
        if input.readableBytes == 0 { input.clear() }
    }

    private func readLines() {
        while let end = stream.readableBytesView.firstIndex(of: UInt8(ascii: "\n")) {
            let line = stream.readString(length: end - stream.readerIndex) ?? ""
            stream.moveReaderIndex(forwardBy: 1)
            read(line)
        }
        if stream.readableBytes == 0 { stream.clear() }
    }

    private func read(_ line: String) {
        if line.isEmpty {
            // Without data there is no event.
            if !data.isEmpty { events.append(Event(name, data.joined(separator: "\n"))) }
            (name, data) = ("", [])
        } else if line.hasPrefix(":") {
            comments += 1
        } else {
            let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            var value = parts.count > 1 ? parts[1] : ""
            if value.first == " " { value.removeFirst() }
            switch parts[0] {
            case "event": name = String(value)
            case "data": data.append(String(value))
            default: break
            }
        }
    }
}
