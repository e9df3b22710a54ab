@preconcurrency import Dispatch
import Glibc
import Synchronization
import TestSupport

/// A DNS server of a test, on an address of the loopback network that nobody else uses. Only root may have its port.
///
/// It knows one answer for all names, and gives it as late as the test wants.
final class NameServer: Sendable {
    enum Answer {
        /// These IPv4 addresses, and none of IPv6.
        case addresses([[UInt8]])
        /// The error SERVFAIL.
        case failure
        /// The error NXDOMAIN.
        case noSuchName
        case silence
    }

    private struct State {
        var answer: Answer
        var delay: DispatchTimeInterval
        /// Questions for IPv4 addresses: one per lookup.
        var lookups = 0
        var unanswered: [[UInt8]: Int] = [:]
        var mostUnanswered = 0
    }

    private let descriptor: Int32
    private let address: String
    private let state: Mutex<State>
    private let queue = DispatchQueue(label: "name server")
    private let source: any DispatchSourceRead

    static let loopback: [UInt8] = [127, 0, 0, 1]

    init(_ answer: Answer = .addresses([loopback]), delay: DispatchTimeInterval = .seconds(0)) throws {
        (descriptor, address) = try Self.bound()
        state = Mutex(State(answer: answer, delay: delay))
        source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: queue)
        source.setEventHandler { [weak self] in self?.receive() }
        source.setCancelHandler { [descriptor] in close(descriptor) }
        source.activate()
    }

    deinit { source.cancel() }

    func set(_ answer: Answer, delay: DispatchTimeInterval = .seconds(0)) {
        state.withLock {
            $0.answer = answer
            $0.delay = delay
        }
    }

    var lookups: Int { state.withLock { $0.lookups } }
    /// The most lookups of one name that were under way at the same time.
    var mostAtOnce: Int { state.withLock { $0.mostUnanswered } }

    /// The command that runs another one in a mount namespace where this is the only name server. A lookup is never
    /// repeated by the system, so that each of them counts once.
    func wrapper(_ directory: TemporaryDirectory) throws -> [String] {
        let resolver = try directory.write(
            "nameserver \(address)\noptions timeout:30 attempts:1\n", to: "resolv.conf")
        let order = try directory.write("hosts: files dns\n", to: "nsswitch.conf")
        let script =
            "mount --bind \(resolver) /etc/resolv.conf && mount --bind \(order) /etc/nsswitch.conf && exec \"$@\""
        return [try Executables.find("unshare"), "--mount", "sh", "-c", script, "sh"]
    }

    private static func bound() throws -> (Int32, String) {
        for _ in 0..<100 {
            let bytes = (0..<3).map { _ in UInt8.random(in: 1...254) }
            let text = "127.\(bytes[0]).\(bytes[1]).\(bytes[2])"
            let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = in_port_t(53).bigEndian
            inet_pton(AF_INET, text, &address.sin_addr)
            let isBound = withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
                }
            }
            if isBound { return (descriptor, text) }
            close(descriptor)
        }
        throw TestFailure("no port 53 in 127.0.0.0/8")
    }

    // MARK: Questions

    private func receive() {
        var bytes = [UInt8](repeating: 0, count: 512)
        var peer = sockaddr_in()
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let count = withUnsafeMutablePointer(to: &peer) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                recvfrom(descriptor, &bytes, 512, 0, $0, &size)
            }
        }
        // A header of 12 bytes, then the name, which ends with an empty label, its type and its class.
        guard count > 17, let end = bytes[12..<count].firstIndex(of: 0), end + 5 <= count else { return }
        let question = Array(bytes[12..<end + 5])
        let isIPv4 = bytes[end + 2] == 1
        let (answer, delay) = state.withLock { state in
            if isIPv4 {
                state.lookups += 1
                state.unanswered[question, default: 0] += 1
                state.mostUnanswered = max(state.mostUnanswered, state.unanswered[question] ?? 0)
            }
            return (state.answer, state.delay)
        }
        guard let reply = Self.reply(to: bytes[0..<2], question, isIPv4: isIPv4, answer) else { return }
        queue.asyncAfter(deadline: .now() + delay) { [weak self, peer] in
            self?.send(reply, to: peer, isIPv4 ? question : nil)
        }
    }

    private func send(_ reply: [UInt8], to peer: sockaddr_in, _ question: [UInt8]?) {
        if let question { state.withLock { $0.unanswered[question, default: 1] -= 1 } }
        withUnsafePointer(to: peer) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = sendto(descriptor, reply, reply.count, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }

    private static func reply(
        to id: ArraySlice<UInt8>, _ question: [UInt8], isIPv4: Bool, _ answer: Answer
    ) -> [UInt8]? {
        var addresses: [[UInt8]] = []
        var code: UInt8 = 0
        switch answer {
        case .addresses(let all): addresses = isIPv4 ? all : []
        case .failure: code = 2
        case .noSuchName: code = 3
        case .silence: return nil
        }
        let header: [UInt8] = [0x81, 0x80 | code, 0, 1, 0, UInt8(addresses.count), 0, 0, 0, 0]
        // The name of the question, type A, class IN, one second to live, four bytes.
        let record: [UInt8] = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]
        return addresses.reduce(Array(id) + header + question) { $0 + record + $1 }
    }
}
