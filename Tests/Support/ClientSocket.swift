import Foundation
import NIOCore

/// A connected stream socket of a test: sends and receives bytes, waits with a deadline, blocks no thread for long.
final class ClientSocket: Sendable {
    enum Received {
        case bytes(ByteBuffer)
        case nothingYet
        case ended
    }

    let name: String
    private let descriptor: Int32

    /// Connects to a Unix socket.
    convenience init(path: String) throws { try self.init(.unix(path: path), name: path) }

    /// Connects to a port of 127.0.0.1.
    convenience init(port: Int) throws { try self.init(.loopback(port: port), name: "127.0.0.1:\(port)") }

    private init(_ address: SocketAddress, name: String) throws {
        self.name = name
        descriptor = socket(address.family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw TestFailure("no socket: \(String(cString: strerror(errno)))") }
        var address = address
        guard address.use({ connect(descriptor, $0, $1) }) == 0 else {
            throw TestFailure("cannot connect to \(name): \(String(cString: strerror(errno)))")
        }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// Sends everything; throws if the other side doesn't accept it in time.
    func send(_ bytes: ByteBuffer, within limit: Duration) async throws {
        let deadline = PatientClock.now + limit
        var rest = bytes
        while rest.readableBytes > 0 {
            let count = rest.withUnsafeReadableBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
            }
            if count > 0 {
                rest.moveReaderIndex(forwardBy: count)
            } else if errno == EAGAIN, PatientClock.now < deadline {
                try await Task.sleep(for: .milliseconds(1))
            } else if errno != EINTR {
                throw TestFailure("\(name) takes nothing: \(String(cString: strerror(errno)))")
            }
        }
    }

    /// Reads the bytes that have arrived.
    func receive() -> Received {
        var buffer = ByteBuffer()
        var count = -1
        repeat {
            buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: 65_536) {
                count = recv(descriptor, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT))
                return max(0, count)
            }
        } while count < 0 && errno == EINTR
        if count > 0 { return .bytes(buffer) }
        return count < 0 && errno == EAGAIN ? .nothingYet : .ended
    }

    /// Waits for a short time, or less if something arrives: the kernel wakes a thread sooner than a timer would.
    func waitAWhile() async throws {
        var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        if poll(&request, 1, 1) == 0 { try await Task.sleep(for: .milliseconds(1)) }
    }

    /// Closes the output.
    func shutdownWriting() { _ = shutdown(descriptor, Int32(SHUT_WR)) }

    /// The connection will be reset, not closed.
    func resetAtClose() {
        var value = linger(l_onoff: 1, l_linger: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &value, socklen_t(MemoryLayout<linger>.size))
    }

    /// Shrinks the kernel's buffer of a slow reader.
    func setReceiveBuffer(bytes: Int32) {
        var bytes = bytes
        setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, socklen_t(MemoryLayout<Int32>.size))
    }
}
