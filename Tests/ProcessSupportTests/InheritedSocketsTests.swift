import Glibc
import ProcessSupport
import Testing

@testable import ProcessSupport

/// A descriptor that is closed at the end of the test.
private final class Descriptor {
    let number: Int32
    let path: String?

    init(_ number: Int32, path: String? = nil) throws {
        try #require(number >= 0)
        self.number = number
        self.path = path
    }

    deinit {
        close(number)
        if let path { unlink(path) }
    }

    static func unix(type: Int32 = Int32(SOCK_STREAM.rawValue), listens: Bool = true) throws -> Descriptor {
        let path = "/tmp/syncd-inherited-\(getpid())-\(UInt64.random(in: .min ... .max))"
        let descriptor = try Descriptor(socket(AF_UNIX, type, 0), path: path)
        let address = try #require(UnixAddress(path))
        try #require(address.withSocketAddress { bind(descriptor.number, $0, $1) } == 0)
        if listens { try #require(listen(descriptor.number, 1) == 0) }
        return descriptor
    }

    static func internet() throws -> Descriptor {
        let descriptor = try Descriptor(socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0))
        // Not bound: the kernel chooses a free port.
        try #require(listen(descriptor.number, 1) == 0)
        return descriptor
    }
}

@Suite struct InheritedSocketsTests {
    private func sockets(_ environment: [String: String]) throws(ConfigurationError) -> InheritedSockets {
        try InheritedSockets(environment: environment, processID: 17)
    }

    @Test(arguments: [
        [:], ["LISTEN_FDS": "1"], ["LISTEN_PID": "17"], ["LISTEN_FDS": "1", "LISTEN_PID": "18"],
        ["LISTEN_FDS": "x", "LISTEN_PID": "18"], ["LISTEN_FDS": "0", "LISTEN_PID": "17"],
        ["LISTEN_FDS": "1", "LISTEN_PID": "017"],
    ])
    func `what is not meant for this process is ignored`(_ environment: [String: String]) throws {
        let sockets = try sockets(environment)
        #expect(sockets.all.isEmpty)
        #expect(try sockets.listener(named: "syncd", kind: .unix) == nil)
    }

    @Test(arguments: ["", "-1", "+1", "x", "1025", "99999999999"])
    func `a number that is none ends the process`(_ count: String) {
        #expect(throws: ConfigurationError.self) { try sockets(["LISTEN_FDS": count, "LISTEN_PID": "17"]) }
    }

    @Test func `sockets have names`() throws {
        let environment = ["LISTEN_FDS": "2", "LISTEN_PID": "17", "LISTEN_FDNAMES": "syncd:"]
        let expected = [InheritedSocket(descriptor: 3, name: "syncd"), InheritedSocket(descriptor: 4, name: "")]
        #expect(try sockets(environment).all == expected)
        #expect(throws: ConfigurationError.self) {
            try sockets(["LISTEN_FDS": "1", "LISTEN_PID": "17", "LISTEN_FDNAMES": "a:b"])
        }
    }

    private func handedOver(_ number: Int32, name: String = "syncd") -> InheritedSockets {
        InheritedSockets([InheritedSocket(descriptor: number, name: name)])
    }

    @Test(arguments: ["syncd", "unknown", "syncd.socket"])
    func `a listening Unix socket is taken`(_ name: String) throws {
        let socket = try Descriptor.unix()
        #expect(try handedOver(socket.number, name: name).listener(named: "syncd", kind: .unix) == socket.number)
        #expect(InheritedSocket.unixPath(of: socket.number) == socket.path)
    }

    @Test func `a listening internet socket is taken`() throws {
        let socket = try Descriptor.internet()
        #expect(try handedOver(socket.number, name: "http").listener(named: "http", kind: .internet) == socket.number)
        #expect(InheritedSocket.unixPath(of: socket.number) == nil)
    }

    @Test func `anything else is refused by name`() throws {
        let unlistening = try Descriptor.unix(listens: false)
        let datagram = try Descriptor.unix(type: Int32(SOCK_DGRAM.rawValue), listens: false)
        let internet = try Descriptor.internet()
        let file = try Descriptor(open("/dev/null", O_RDONLY))
        let cases = [
            (unlistening.number, "does not listen"), (datagram.number, "is not a stream socket"),
            (internet.number, "is of another address family"), (file.number, "is not a socket"), (9999, "is not open"),
        ]
        for (number, problem) in cases {
            let error = #expect(throws: ConfigurationError.self) {
                try handedOver(number).listener(named: "syncd", kind: .unix)
            }
            #expect(error?.description.contains("descriptor \(number) (syncd) \(problem)") == true)
        }
    }

    @Test func `several or strange ones are refused`() throws {
        let socket = try Descriptor.unix()
        #expect(throws: ConfigurationError.self) {
            try handedOver(socket.number, name: "http").listener(named: "syncd", kind: .unix)
        }
        let two = InheritedSockets([
            InheritedSocket(descriptor: socket.number, name: "syncd"),
            InheritedSocket(descriptor: socket.number, name: "syncd"),
        ])
        #expect(throws: ConfigurationError.self) { try two.listener(named: "syncd", kind: .unix) }
    }

    @Test func `an abstract socket has no path`() throws {
        let descriptor = try Descriptor(socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0))
        let address = try #require(UnixAddress("@syncd-test-\(getpid())-\(UInt64.random(in: .min ... .max))"))
        try #require(address.withSocketAddress { bind(descriptor.number, $0, $1) } == 0)
        #expect(InheritedSocket.unixPath(of: descriptor.number) == nil)
    }
}
