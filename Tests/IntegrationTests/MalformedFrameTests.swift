import Foundation
import IPCWire
import NIOCore
import TestSupport
import Testing

/// Bytes that are no request: one error, the end of that connection, and nothing else changes.
@Suite(.tags(.servers), .processes) struct MalformedFrameTests {
    /// Lengths that are none, for every type that has one.
    private static let lengths = [
        "-1", "-2", "+5", "05", " 5", "5 ", "0x5", "5e0", "٥", "9223372036854775807", "9223372036854775808",
        "99999999999999999999", "536870912", "2147483648", "4294967296", "", "1.0",
    ]

    private static let frames: [String] =
        lengths.flatMap { length in
            ["*\(length)\r\n", "*2\r\n$5\r\nFETCH\r\n$\(length)\r\n"]
                + ["%", "~", ">", "|"].map { "\($0)\(length)\r\n" }
        } + [
            "*0\r\n", "$4\r\nPING\r\n", "+PING\r\n", "-ERR\r\n", ":1\r\n", "_\r\n", "#t\r\n", ",1.5\r\n", ",nan\r\n",
            "(12345678901234567890\r\n", "=7\r\ntxt:abc\r\n", "!5\r\nerror\r\n", ">1\r\n$4\r\nPING\r\n",
            "%1\r\n+a\r\n+b\r\n", "|1\r\n+a\r\n+b\r\n*1\r\n$4\r\nPING\r\n", "$?\r\n", "*?\r\n",
            "*1\r\n+PING\r\n", "*1\r\n:1\r\n", "*1\r\n*1\r\n$4\r\nPING\r\n", "*1\r\n$4\r\nPINGxx",
            "*1\r\n$4\r\nPING\n\r",
            "*1\n$4\nPING\n", "*1\r$4\rPING\r", "*1\r\r\n", "*1 \r\n",
            "PING\r\n", "GET a b c\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\r\n:1\r\n", " *1\r\n$4\r\nPING\r\n",
            "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}", "\u{0}",
            "*70000\r\n", "*" + String(repeating: "1", count: 20_000),
            "*1\r\n$" + String(repeating: "1", count: 20_000),
            String(repeating: "*1\r\n", count: 100_000),
            "*2\r\n$5\r\nFETCH\r\n$16777217\r\n",
        ]

    @Test func `each is answered by one error and the end of its connection`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let witness = try await syncd.connect()
        for frame in Self.frames {
            let client = try RESPSocket(path: syncd.socketPath)
            let shown = ByteBuffer(string: String(frame.prefix(60))).escaped
            // A connection that is closed during the sending need not accept everything.
            try? await client.send(raw: frame)
            do {
                let reply = try await client.reply()
                #expect(reply.errorText?.hasPrefix("ERR Protocol error: ") == true, "\(shown): \(reply)")
                #expect(try await client.closes(), "\(shown)")
            } catch {
                Issue.record("\(shown): \(error)")
            }
        }
        #expect(try await witness.command("PING").string == "PONG")
        let notices = syncd.log.split(separator: "\n").filter { $0.contains("protocol error") }
        #expect((20...Self.frames.count).contains(notices.count), "each is logged, 20 in 10 s")
    }

    @Test func `however the bytes are split`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        for frame in ["*2\r\n$4\r\nECHO\r\n$-1\r\n", "*1\r\n$4\r\nPINGxx", "GET / HTTP/1.1\r\n\r\n", "*1\r\n$05\r\n"] {
            for cut in 1..<frame.utf8.count {
                let client = try RESPSocket(path: syncd.socketPath)
                try await client.send(bytes: ByteBuffer(bytes: frame.utf8.prefix(cut)))
                try? await client.send(bytes: ByteBuffer(bytes: frame.utf8.dropFirst(cut)))
                let reply = try await client.reply()
                #expect(reply.errorText?.hasPrefix("ERR Protocol error: ") == true)
                #expect(try await client.closes())
            }
        }
    }

    @Test func `what was asked before is answered, what comes after is not looked at`() async throws {
        let (redis, syncd) = try await Home.redis.start()
        let client = try await syncd.connect()
        try await client.send(
            raw:
                "*2\r\n$5\r\nFETCH\r\n$1\r\nk\r\n*2\r\n$4\r\nECHO\r\n$1\r\na\r\n*1\r\n+\r\n*3\r\n$10\r\nINVALIDATE\r\n$4\r\nTAGS\r\n$1\r\na\r\n"
        )
        #expect(try FetchReply(try await client.reply()).isLease, "its answer waits for Redis")
        #expect(try await client.reply().string == "a")
        #expect(try await client.reply().errorText?.hasPrefix("ERR Protocol error: ") == true)
        #expect(try await client.closes())
        #expect(try await syncd.status("fanout", "invalidations-in")?.number == 0)
        withExtendedLifetime(redis) {}
    }

    @Test func `a frame that is never ended harms nobody`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let before = try ProcessMemory.resident(syncd.pid)
        var clients: [RESPSocket] = []
        for start in ["*1", "*1\r\n", "*3\r\n$5\r\nFETCH\r\n", "*2\r\n$4\r\nECHO\r\n$16000000\r\n", "*65536\r\n"] {
            for _ in 0..<20 {
                let client = try RESPSocket(path: syncd.socketPath)
                try await client.send(raw: start)
                clients.append(client)
            }
        }
        #expect(try await syncd.command("PING").string == "PONG")
        let grown = try ProcessMemory.resident(syncd.pid) - before
        #expect(grown < 8 << 20, "nothing is reserved because a header announces it")
        for client in clients { await client.shutdownWriting() }
        for client in clients { #expect(try await client.closes()) }
        try await eventually("they are forgotten") {
            if case .array(let items)? = try await syncd.status()["clients"] { items.count == 1 } else { false }
        }
    }

    @Test func `good frames, however they are split`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let frames = "*2\r\n$4\r\nECHO\r\n$4\r\n\r\n\r\n\r\n*1\r\n$4\r\nPING\r\n*2\r\n$4\r\necho\r\n$0\r\n\r\n"
        for cut in 1..<frames.utf8.count {
            let client = try RESPSocket(path: syncd.socketPath)
            try await client.send(bytes: ByteBuffer(bytes: frames.utf8.prefix(cut)))
            try await client.send(bytes: ByteBuffer(bytes: frames.utf8.dropFirst(cut)))
            #expect(try await client.reply().string == "\r\n\r\n")
            #expect(try await client.reply().string == "PONG")
            #expect(try await client.reply().string == "")
        }
        let client = try RESPSocket(path: syncd.socketPath)
        try await client.send(raw: String(repeating: frames, count: 1000))
        await client.shutdownWriting()
        for _ in 0..<3000 { _ = try await client.reply() }
        #expect(try await client.closes(), "after a half close everything is answered")
    }
}
