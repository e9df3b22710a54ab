import Foundation
import NIOCore

/// The response of an HTTP server.
package struct HTTPReply: Sendable {
    package var status: Int
    /// Names in lower case, in the order in which they came.
    package var headers: [(name: String, value: String)]
    package var body: ByteBuffer

    package subscript(_ name: String) -> String? { headers.first { $0.name == name }?.value }

    /// The body as text.
    package var text: String { String(buffer: body) }
    /// The body, decoded.
    package var json: JSON { JSON(text) }
    /// The source of a cached response.
    package var cache: String? { self["x-cache"] }
    /// The process that answered.
    package var worker: pid_t? { self["x-worker"].flatMap { pid_t($0) } }
}

/// A JSON value for tests.
package struct JSON: Sendable, Equatable, CustomStringConvertible {
    private enum Value: Sendable, Equatable {
        case object([String: JSON])
        case array([JSON])
        case string(String)
        case number(Double)
        case bool(Bool)
        case null
        case none
    }

    private var value: Value

    /// Parses text; malformed JSON has no value.
    package init(_ text: String) {
        let parsed = try? JSONSerialization.jsonObject(with: Data(text.utf8), options: .fragmentsAllowed)
        value = parsed.map { Self.convert($0).value } ?? .none
    }

    private init(_ value: Value) { self.value = value }

    private static func convert(_ any: Any) -> JSON {
        switch any {
        case let object as [String: Any]: JSON(.object(object.mapValues(convert)))
        case let array as [Any]: JSON(.array(array.map(convert)))
        case let text as String: JSON(.string(text))
        case let number as NSNumber:
            String(cString: number.objCType) == "c" ? JSON(.bool(number.boolValue)) : JSON(.number(number.doubleValue))
        default: JSON(.null)
        }
    }

    package subscript(_ name: String) -> JSON {
        if case .object(let object) = value { object[name] ?? JSON(.none) } else { JSON(.none) }
    }
    package subscript(_ index: Int) -> JSON {
        if case .array(let array) = value, array.indices.contains(index) { array[index] } else { JSON(.none) }
    }
    package var string: String? { if case .string(let text) = value { text } else { nil } }
    package var number: Double? { if case .number(let number) = value { number } else { nil } }
    package var bool: Bool? { if case .bool(let flag) = value { flag } else { nil } }
    package var array: [JSON]? { if case .array(let array) = value { array } else { nil } }
    /// The names of an object's fields, in alphabetical order.
    package var names: [String]? { if case .object(let object) = value { object.keys.sorted() } else { nil } }
    package var strings: [String]? { array?.compactMap(\.string) }
    package var description: String { "\(value)" }
}

/// One keep-alive connection of a test. For one task at a time.
package actor HTTPConnection {
    private let socket: ClientSocket
    private var input = ByteBuffer()
    private var hasEnded = false

    /// Connects to a port of 127.0.0.1.
    ///
    /// - Parameter receiveBuffer: in bytes; the kernel doubles it.
    package init(port: Int, receiveBuffer: Int32? = nil) throws {
        socket = try ClientSocket(port: port)
        if let receiveBuffer { socket.setReceiveBuffer(bytes: receiveBuffer) }
    }

    /// Sends one request. A body is sent as JSON.
    package func request(
        _ method: String, _ path: String, body: String? = nil, headers: [(String, String)] = [],
        within limit: Duration = .seconds(15)
    ) async throws -> HTTPReply {
        var text = "\(method) \(path) HTTP/1.1\r\nHost: localhost\r\n"
        for (name, value) in headers { text += "\(name): \(value)\r\n" }
        if let body {
            if !headers.contains(where: { $0.0.lowercased() == "content-type" }) {
                text += "Content-Type: application/json\r\n"
            }
            text += "Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
        } else {
            text += "\r\n"
        }
        try await send(text)
        return try await reply(isHead: method == "HEAD", within: limit)
    }

    package func get(_ path: String) async throws -> HTTPReply { try await request("GET", path) }

    /// Sends text unchanged.
    package func send(_ text: String) async throws {
        try await socket.send(ByteBuffer(string: text), within: .seconds(5))
    }

    /// The next reply.
    package func reply(isHead: Bool = false, within limit: Duration = .seconds(15)) async throws -> HTTPReply {
        let deadline = PatientClock.now + limit
        while true {
            if let reply = try parse(isHead: isHead) { return reply }
            guard !hasEnded, PatientClock.now < deadline else {
                let end = hasEnded ? ": it closed the connection" : ""
                throw TestFailure("no HTTP reply from \(socket.name) within \(limit)\(end): \(String(buffer: input))")
            }
            try await receive()
        }
    }

    /// The next bytes up to this text.
    package func bytes(upTo end: String, within limit: Duration = .seconds(15)) async throws -> String {
        let deadline = PatientClock.now + limit
        while true {
            if let range = input.readableBytesView.firstRange(of: Array(end.utf8)) {
                return input.readString(length: range.upperBound - input.readerIndex) ?? ""
            }
            guard !hasEnded, PatientClock.now < deadline else {
                throw TestFailure("no \(end) from \(socket.name) within \(limit): \(String(buffer: input))")
            }
            try await receive()
        }
    }

    /// Bytes that have arrived and were not read.
    package var unread: String { String(buffer: input) }

    /// The connection will be reset, not closed, when it is dropped.
    package func resetAtClose() { socket.resetAtClose() }

    /// Closes the output.
    package func shutdownWriting() { socket.shutdownWriting() }

    /// Whether the other side closes the connection in time.
    package func closes(within limit: Duration = .seconds(15)) async throws -> Bool {
        let deadline = PatientClock.now + limit
        while !hasEnded, PatientClock.now < deadline { try await receive() }
        return hasEnded
    }

    /// Receives up to 64 KiB, or waits for a short time.
    package func receive() async throws {
        switch socket.receive() {
        case .bytes(var bytes): input.writeBuffer(&bytes)
        case .nothingYet: try await socket.waitAWhile()
        case .ended: hasEnded = true
        }
    }

    private func parse(isHead: Bool) throws -> HTTPReply? {
        let bytes = input.readableBytesView
        guard let end = bytes.firstRange(of: Array("\r\n\r\n".utf8)) else { return nil }
        let lines = String(decoding: bytes[..<end.lowerBound], as: UTF8.self).components(separatedBy: "\r\n")
        let words = lines[0].split(separator: " ")
        guard words.count >= 2, let status = Int(words[1]) else { throw TestFailure("no HTTP: \(lines[0])") }
        let headers = lines.dropFirst().map { line in
            let parts = line.split(separator: ":", maxSplits: 1)
            return (
                name: parts.first.map { $0.lowercased() } ?? "",
                value: parts.count > 1 ? parts[1].trimmingCharacters(in: .whitespaces) : ""
            )
        }
        let headBytes = end.upperBound - bytes.startIndex
        let length = headers.first { $0.name == "content-length" }.flatMap { Int($0.value) } ?? 0
        let bodyBytes = isHead || status < 200 || status == 204 || status == 304 ? 0 : length
        guard input.readableBytes >= headBytes + bodyBytes else { return nil }
        input.moveReaderIndex(forwardBy: headBytes)
        let body = input.readSlice(length: bodyBytes) ?? ByteBuffer()
        if input.readableBytes == 0 { input.clear() }
        return HTTPReply(status: status, headers: headers, body: body)
    }
}
