import Foundation
import NIOCore
import Synchronization
import TestSupport
import Testing

/// A client of syncd that sends requests as fast as it can, on a separate thread. The thread has the lowest priority,
/// so that delays of others are syncd's doing, not the scheduler's.
final class Flood: Sendable {
    /// The repeated request.
    enum Kind: String, CaseIterable, Sendable {
        case ping, fetch, invalidate

        fileprivate var request: String {
            switch self {
            case .ping: "*1\r\n$4\r\nPING\r\n"
            case .fetch: "*2\r\n$5\r\nFETCH\r\n$5\r\nflood\r\n"
            case .invalidate: "*3\r\n$10\r\nINVALIDATE\r\n$4\r\nTAGS\r\n$5\r\nflood\r\n"
            }
        }
    }

    private struct State {
        var isEnding = false
        var hasEnded = false
        var sent = 0
        var received = 0
    }

    private let state = Mutex(State())

    /// - Parameter reads: whether it takes the replies.
    init(_ kind: Kind, reads: Bool, path: String) throws {
        let descriptor = try Self.connect(path)
        let text = [UInt8](String(repeating: kind.request, count: 65_536 / kind.request.utf8.count).utf8)
        let thread = Thread { [self] in
            // 0 is the thread that calls, in Linux.
            setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 19)
            run(descriptor, text, reads: reads)
            close(descriptor)
            state.withLock { $0.hasEnded = true }
        }
        thread.name = "flood"
        thread.start()
    }

    /// Bytes that syncd took, and those that it gave.
    var bytes: (sent: Int, received: Int) { state.withLock { ($0.sent, $0.received) } }

    /// Ends it, and waits until its connection is closed.
    func end() async {
        state.withLock { $0.isEnding = true }
        await eventually("the flood ends") { state.withLock { $0.hasEnded } }
    }

    private static func connect(_ path: String) throws -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let result = withUnsafePointer(to: address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard descriptor >= 0, result == 0 else { throw TestFailure("cannot connect to \(path)") }
        return descriptor
    }

    private func run(_ descriptor: Int32, _ text: [UInt8], reads: Bool) {
        var replies = [UInt8](repeating: 0, count: 65_536)
        var offset = 0
        while !state.withLock({ $0.isEnding }) {
            var request = pollfd(fd: descriptor, events: Int16(POLLOUT) | (reads ? Int16(POLLIN) : 0), revents: 0)
            guard poll(&request, 1, 100) > 0 else { continue }
            if request.revents & Int16(POLLIN) != 0 {
                let count = recv(descriptor, &replies, replies.count, Int32(MSG_DONTWAIT))
                if count == 0 { return }
                state.withLock { $0.received += max(0, count) }
            }
            guard request.revents & Int16(POLLOUT) != 0 else { continue }
            let count = text[offset...].withUnsafeBytes {
                send(descriptor, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
            }
            if count < 0, errno != EAGAIN { return }
            offset = (offset + max(0, count)) % text.count
            state.withLock { $0.sent += max(0, count) }
        }
    }
}
