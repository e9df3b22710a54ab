import Glibc
import NIOCore
import NIOPosix
import ProcessSupport
import Testing

@testable import ProcessSupport

/// The receiving end of `NOTIFY_SOCKET`.
private final class NotifySocket {
    let descriptor: Int32
    let name: String

    /// An abstract socket with a separate name.
    init() throws {
        name = "@syncd-test-\(getpid())-\(UInt64.random(in: .min ... .max))"
        descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        let address = try #require(UnixAddress(name))
        let result = address.withSocketAddress { bind(descriptor, $0, $1) }
        try #require(result == 0)
    }

    deinit { close(descriptor) }

    /// The next datagram; `nil` if none comes within the time.
    func next(milliseconds: Int32 = 5000) -> String? {
        var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard poll(&request, 1, milliseconds) == 1 else { return nil }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = recv(descriptor, &bytes, bytes.count, 0)
        return count < 0 ? nil : String(decoding: bytes[..<count], as: UTF8.self)
    }
}

@Suite struct ServiceManagerTests {
    @Test func `every message is sent as systemd reads it`() throws {
        let socket = try NotifySocket()
        let manager = ServiceManager(environment: ["NOTIFY_SOCKET": socket.name])
        #expect(manager.isPresent)
        manager.notify(.ready, .status("attached"))
        #expect(socket.next() == "READY=1\nSTATUS=attached")
        manager.notify(.stopping, isWaiting: true)
        #expect(socket.next() == "STOPPING=1")
        manager.notify(.watchdog)
        #expect(socket.next() == "WATCHDOG=1")
        manager.notify(.reloading(monotonicMicroseconds: 12))
        #expect(socket.next() == "RELOADING=1\nMONOTONIC_USEC=12")
    }

    @Test func `a status cannot say anything else`() throws {
        let socket = try NotifySocket()
        let manager = ServiceManager(environment: ["NOTIFY_SOCKET": socket.name])
        manager.notify(.status("why\nMAINPID=1"))
        #expect(socket.next() == "STATUS=why\\nMAINPID=1")
    }

    @Test func `a reload that begins now has the time of the monotonic clock`() {
        var before = timespec()
        clock_gettime(CLOCK_MONOTONIC, &before)
        guard case .reloading(let time) = ServiceManager.Message.reloadingNow else {
            Issue.record("not a reload")
            return
        }
        #expect(time >= UInt64(before.tv_sec) * 1_000_000)
        #expect(time < UInt64(before.tv_sec + 60) * 1_000_000)
    }

    @Test(arguments: [
        [:], ["NOTIFY_SOCKET": ""], ["NOTIFY_SOCKET": "@"], ["NOTIFY_SOCKET": "vsock:2:1234"],
        ["NOTIFY_SOCKET": "/" + String(repeating: "a", count: 107)],
    ])
    func `without a manager nothing is sent`(_ environment: [String: String]) {
        let manager = ServiceManager(environment: environment)
        #expect(!manager.isPresent)
        #expect(!manager.notify(.ready, isWaiting: true))
    }

    @Test func `a manager that is gone is no error`() {
        let manager = ServiceManager(environment: ["NOTIFY_SOCKET": "@syncd-test-nobody-\(getpid())"])
        #expect(manager.isPresent)
        #expect(!manager.notify(.ready, isWaiting: true))
    }

    @Test func `a full queue loses a sign of life but holds up nobody`() throws {
        let socket = try NotifySocket()
        let manager = ServiceManager(environment: ["NOTIFY_SOCKET": socket.name])
        var sent = 0
        while manager.notify(.watchdog), sent < 100_000 { sent += 1 }
        #expect((1..<100_000).contains(sent))
        #expect(socket.next() == "WATCHDOG=1")
        #expect(manager.notify(.ready, isWaiting: true))
    }
}

@Suite struct WatchdogTests {
    @Test func `it is taken from the environment`() {
        #expect(Watchdog(environment: ["WATCHDOG_USEC": "10000000"])?.timeoutNanoseconds == 10_000_000_000)
        let mine = ["WATCHDOG_USEC": "1000", "WATCHDOG_PID": "17"]
        #expect(Watchdog(environment: mine, processID: 17)?.timeoutNanoseconds == 1_000_000)
        #expect(Watchdog(environment: mine, processID: 18) == nil)
    }

    @Test(arguments: ["", "0", "-1", "+5", "1e6", "99999999999999999999"])
    func `what is no time is no watchdog`(_ text: String) {
        #expect(Watchdog(environment: ["WATCHDOG_USEC": text]) == nil)
    }

    @Test func `the loop gives signs of life only while it turns`() async throws {
        let socket = try NotifySocket()
        let manager = ServiceManager(environment: ["NOTIFY_SOCKET": socket.name])
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let watchdog = try #require(Watchdog(environment: ["WATCHDOG_USEC": "20000"]))
        let task = watchdog.start(on: group.next(), manager: manager)
        for _ in 0..<3 { #expect(socket.next() == "WATCHDOG=1") }

        // Held up until told otherwise: then there is silence for longer than the time allowed.
        let gate = Gate()
        group.next().execute { gate.wait() }
        while socket.next(milliseconds: 50) != nil {}
        #expect(socket.next(milliseconds: 200) == nil)
        gate.open()
        #expect(socket.next() == "WATCHDOG=1")
        task.cancel()
        try await group.shutdownGracefully()
    }

    @Test func `no sign of life is given by who is not well`() async throws {
        let socket = try NotifySocket()
        let manager = ServiceManager(environment: ["NOTIFY_SOCKET": socket.name])
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let watchdog = try #require(Watchdog(environment: ["WATCHDOG_USEC": "2000"]))
        let task = watchdog.start(on: group.next(), manager: manager) { false }
        #expect(socket.next(milliseconds: 100) == nil)
        task.cancel()
        try await group.shutdownGracefully()
    }
}

/// Blocks a thread until it is opened.
private final class Gate: Sendable {
    private let read: Int32
    private let write: Int32

    init() {
        var ends: [Int32] = [0, 0]
        pipe(&ends)
        (read, write) = (ends[0], ends[1])
    }

    deinit {
        close(read)
        close(write)
    }

    func wait() {
        var byte: UInt8 = 0
        _ = Glibc.read(read, &byte, 1)
    }

    func open() { _ = Glibc.write(write, [1], 1) }
}
