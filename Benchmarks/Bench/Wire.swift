import Glibc
import IPCWire
import NIOCore
import TestSupport

/// A blocking connection with minimal cost, so that the server is measured. It counts frames of RESP without decoding
/// them, the same way for syncd and for Redis.
final class Wire {
    /// The way to wait for bytes.
    enum Waiting {
        /// In the kernel, as programs do.
        case blocked
        /// By polling, so that no wakeup of this process is part of the measurement.
        case spinning
    }

    private let descriptor: Int32
    private var input = [UInt8](repeating: 0, count: 1 << 21)
    private var end = 0

    /// Connects to a Unix socket.
    init(path: String) throws {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        descriptor = try Self.connected(to: &address, AF_UNIX, path)
    }

    /// Connects to a port of 127.0.0.1.
    init(port: Int) throws {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        descriptor = try Self.connected(to: &address, AF_INET, "port \(port)")
        var on: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
    }

    deinit { close(descriptor) }

    private static func connected<Address>(to address: inout Address, _ family: Int32, _ name: String) throws -> Int32 {
        let descriptor = socket(family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        let status = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<Address>.size))
            }
        }
        guard status == 0 else {
            close(descriptor)
            throw TestFailure("cannot connect to \(name): \(String(cString: strerror(errno)))")
        }
        return descriptor
    }

    // MARK: Bytes

    func send(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress?.advanced(by: sent), $0.count - sent, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw TestFailure("nothing is taken: \(String(cString: strerror(errno)))") }
            sent += count
        }
    }

    /// Waits for more bytes.
    private func receive(_ waiting: Waiting) throws {
        if end == input.count { input += [UInt8](repeating: 0, count: input.count) }
        while true {
            let count = input.withUnsafeMutableBytes { bytes in
                recv(
                    descriptor, bytes.baseAddress?.advanced(by: end), bytes.count - end,
                    waiting == .spinning ? Int32(MSG_DONTWAIT) : 0)
            }
            if count > 0 {
                end += count
                return
            }
            guard count < 0, errno == EAGAIN || errno == EINTR else { throw TestFailure("the connection ended") }
            // There may be fewer processors than processes.
            if waiting == .spinning { sched_yield() }
        }
    }

    /// Reads the bytes that have arrived, and returns their number; for connections whose frames don't matter.
    func drain() -> Int {
        end = 0
        return input.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT)) }
    }

    // MARK: RESP

    /// Waits for this number of frames, and drops them.
    func await(frames: Int = 1, _ waiting: Waiting = .blocked) throws {
        var place = 0
        var missing = frames
        while missing > 0 {
            if let next = Self.skip(input, from: place, to: end, &missing) {
                place = next
            } else {
                try receive(waiting)
            }
        }
        // Further bytes would count as an answer to the next request.
        guard place == end else { throw TestFailure("\(end - place) bytes that nobody asked for") }
        end = 0
    }

    /// Skips one header and, for a blob, its bytes; `nil`: they are incomplete.
    private static func skip(_ input: [UInt8], from start: Int, to end: Int, _ missing: inout Int) -> Int? {
        var place = start + 1
        var number = 0
        var isNegative = false
        while place + 1 < end, input[place] != 13 {
            if input[place] == UInt8(ascii: "-") { isNegative = true }
            number = number &* 10 &+ Int(input[place] & 15)
            place += 1
        }
        guard place + 1 < end else { return nil }
        place += 2
        switch input[start] {
        case UInt8(ascii: "$") where !isNegative:
            guard place + number + 2 <= end else { return nil }
            place += number + 2
        case UInt8(ascii: "*") where !isNegative: missing += number
        case UInt8(ascii: ">"): missing += number
        case UInt8(ascii: "%"): missing += 2 * number
        default: break
        }
        missing -= 1
        return place
    }

    /// A command and its decoded reply, for unmeasured steps.
    @discardableResult
    func command(_ words: String...) throws -> RESPValue { try command(words.map { ByteBuffer(string: $0) }) }

    @discardableResult
    func command(_ words: [ByteBuffer]) throws -> RESPValue {
        try send(Self.encoded(words))
        return try value()
    }

    /// The next frame, decoded.
    func value() throws -> RESPValue {
        var decoder = RESPDecoder(limits: WireLimits())
        while true {
            decoder.feed(ByteBuffer(bytes: input[..<end]))
            end = 0
            if let value = try decoder.next() { return value }
            try receive(.blocked)
        }
    }

    static func encoded(_ words: [ByteBuffer]) -> [UInt8] {
        var writer = RESPWriter(version: .v2)
        writer.arrayHeader(words.count)
        for word in words { writer.bulkString(word) }
        return Array(writer.buffer.readableBytesView)
    }

    static func encoded(_ words: String...) -> [UInt8] { encoded(words.map { ByteBuffer(string: $0) }) }

    // MARK: Other protocols

    /// Sends a GET, and waits for the response.
    @discardableResult
    func get(_ path: String) throws -> [UInt8] {
        try send(Array("GET \(path) HTTP/1.1\r\nHost: localhost\r\n\r\n".utf8))
        return try awaitHTTP()
    }

    /// Waits for an HTTP response with a Content-Length; returns its body.
    @discardableResult
    func awaitHTTP() throws -> [UInt8] {
        var head: Range<Int>?
        while head == nil {
            try receive(.blocked)
            head = input[..<end].firstRange(of: Array("\r\n\r\n".utf8))
        }
        let start = head?.upperBound ?? 0
        let lines = String(decoding: input[..<start], as: UTF8.self).lowercased().split(separator: "\r\n")
        guard lines.first?.contains(" 2") == true else { throw TestFailure("\(lines.first ?? "")") }
        let field = lines.first { $0.hasPrefix("content-length:") }
        let length = field.flatMap { Int($0.dropFirst("content-length:".count).drop { $0 == " " }) } ?? 0
        while end < start + length { try receive(.blocked) }
        end = 0
        return Array(input[start..<start + length])
    }

    /// Waits for a message of MongoDB: its length comes first.
    func awaitMongo() throws {
        while true {
            if end >= 4 {
                let length = (0..<4).reduce(0) { $0 | Int(input[$1]) << (8 * $1) }
                if end >= length {
                    end = 0
                    return
                }
            }
            try receive(.blocked)
        }
    }
}

/// CLOCK_MONOTONIC in ns.
func monotonicNow() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
