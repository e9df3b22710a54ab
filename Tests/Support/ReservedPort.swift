import Foundation

/// A TCP port on 127.0.0.1 that no other process takes as long as the value lives, not even while the server of the
/// test is down.
///
/// A bound socket that does not listen holds the port: servers that set SO_REUSEADDR or SO_REUSEPORT may bind beside
/// it, while another test's probe, which sets neither, may not. Ports that the kernel gives to outgoing connections are
/// left out: a program that connects to one without a listener can get itself as its peer.
package final class ReservedPort: Sendable {
    package let number: Int
    private let descriptor: Int32

    package init() throws {
        for _ in 0..<1000 {
            let number = Int.random(in: 10_240..<32_768)
            if let descriptor = Self.bind(number) {
                self.number = number
                self.descriptor = descriptor
                return
            }
        }
        throw TestFailure("no free port between 10240 and 32767")
    }

    deinit { close(descriptor) }

    private static func bind(_ number: Int) -> Int32? {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        var address = SocketAddress.loopback(port: number)
        var on: Int32 = 1
        let size = socklen_t(MemoryLayout<Int32>.size)
        guard address.use({ Glibc.bind(descriptor, $0, $1) }) == 0,
            setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, size) == 0,
            setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &on, size) == 0
        else {
            close(descriptor)
            return nil
        }
        return descriptor
    }
}

/// An address in the form of the socket calls.
enum SocketAddress {
    case internet(sockaddr_in)
    case unix(sockaddr_un)

    static func loopback(port: Int) -> SocketAddress {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        return .internet(address)
    }

    static func unix(path: String) throws -> SocketAddress {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let fits = withUnsafeMutableBytes(of: &address.sun_path) { field in
            guard path.utf8.count < field.count else { return false }
            field.copyBytes(from: path.utf8)
            return true
        }
        guard fits else { throw TestFailure("\(path) is too long for a socket") }
        return .unix(address)
    }

    var family: Int32 {
        switch self {
        case .internet: AF_INET
        case .unix: AF_UNIX
        }
    }

    mutating func use(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        switch self {
        case .internet(var address): Self.use(&address, body)
        case .unix(var address): Self.use(&address, body)
        }
    }

    private static func use<Address>(
        _ address: inout Address, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Int32 {
        withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<Address>.size))
            }
        }
    }
}
