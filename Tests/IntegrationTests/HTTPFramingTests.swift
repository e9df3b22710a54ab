import Foundation
import TestSupport
import Testing

/// Input that is not quite HTTP, in all the ways that have led servers and the proxies before them to read one request
/// differently. Each is either refused, with the end of its connection, or has one meaning.
@Suite(.tags(.servers), .processes) struct HTTPFramingTests {
    private static func post(_ headers: String, _ body: String) -> String {
        "POST /api/users HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\(headers)\r\n\r\n\(body)"
    }

    private static func get(_ headers: String) -> String { "GET / HTTP/1.1\r\nHost: a\r\n\(headers)\r\n\r\n" }

    private static func host(_ value: String) -> String { "GET / HTTP/1.1\r\nHost: \(value)\r\n\r\n" }

    private static let chunks = "2\r\n{}\r\n0\r\n\r\n"

    private static let refused: [String] = [
        // Two lengths, or none that is a number.
        post("Content-Length: 2\r\nTransfer-Encoding: chunked", chunks),
        post("Content-Length: 2\r\nContent-Length: 3", "{}"), post("Content-Length: 2\r\nContent-Length: 2", "{}"),
        post("Content-Length: +2", "{}"), post("Content-Length: -1", "{}"), post("Content-Length: 1e3", "{}"),
        post("Content-Length: 0x2", "{}"), post("Content-Length: 2, 2", "{}"),
        post("Content-Length: 18446744073709551618", "{}"),
        // Codings that are not chunks alone.
        post("Transfer-Encoding: xchunked", chunks), post("Transfer-Encoding: chunked, identity", chunks),
        post("Transfer-Encoding: \u{b}chunked", chunks), post("Transfer-Encoding: gzip, chunked", chunks),
        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", chunks),
        // Chunks that are none.
        post("Transfer-Encoding: chunked", "fffffffffffffffff\r\n{}"), post("Transfer-Encoding: chunked", "-1\r\n{}"),
        post("Transfer-Encoding: chunked", "2\r\n{}0\r\n\r\n"), post("Transfer-Encoding: chunked", "2\n{}\n0\n\n"),
        post("Transfer-Encoding: chunked", "2\r\n{}\r\n0\r\n" + String(repeating: "a: b\r\n", count: 10_000) + "\r\n"),
        // Lines that end or begin in other ways.
        "GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\rHost: a\r\r", get("X: a\0b"), get("X\0: a"), get("X : a"),
        get("X: a\r\n b"), "GET / HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n", get("X: a\rb"),
        // Methods, versions and targets.
        "\(String(repeating: "A", count: 1024)) / HTTP/1.1\r\nHost: a\r\n\r\n", "get / HTTP/1.1\r\nHost: a\r\n\r\n",
        "FOO / HTTP/1.1\r\nHost: a\r\n\r\n", "GET /\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", "GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", "GET /\u{1} HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", "GET /é HTTP/1.1\r\nHost: a\r\n\r\n",
        // Hosts that are none, twice or missing.
        host("a b"), host("a:99999"), host("a:-1"), host("a:b"), host("a/b"), host("u@a"), host("[::1"), host("[]"),
        host("a\r\nHost: a"), "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.0\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
        // The beginning of TLS.
        "\u{16}\u{3}\u{1}\0È\u{1}\0\0Ä\u{3}\u{3}" + String(repeating: "\0", count: 200),
    ]

    @Test func `is refused, and its connection closed`() async throws {
        let host = try await TestHost.start(workers: 1, home: nil)
        for text in Self.refused {
            let what = Comment(rawValue: String(text.prefix(160)))
            let http = try host.connect()
            try await http.send(text)
            #expect(try await http.reply().status == 400, what)
            #expect(try await http.closes(), what)
        }
        let long = try host.connect()
        try await long.send("GET /\(String(repeating: "a", count: 65_536)) HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(try await long.reply().status == 431)
        let demanding = try host.connect()
        try await demanding.send(Self.post("Expect: 200-ok\r\nContent-Length: 2", "{}"))
        #expect(try await demanding.reply().status == 417)
        #expect(try await demanding.closes())
        let http = try host.connect()
        #expect(try await http.get("/api/users").json.array?.isEmpty == true, "nobody was made")
    }

    @Test func `has one meaning, and the connection goes on`() async throws {
        let host = try await TestHost.start(workers: 1, home: nil)
        let http = try host.connect()
        for (text, status) in [
            (Self.post("Content-Length:   2 ", "{}"), 400), (Self.post("Transfer-Encoding: Chunked", Self.chunks), 400),
            (Self.post("Transfer-Encoding: chunked", "2;a=\"b\"\r\n{}\r\n0\r\nX: a\r\n\r\n"), 400),
            (Self.post("Content-Encoding: gzip\r\nContent-Length: 2", "{}"), 415), (Self.get("X: \u{ff}é"), 200),
            (Self.get("Content-Length: 5") + "hello", 200), (Self.get("Upgrade: h2c"), 200),
            (Self.host(""), 200), (Self.host("a \t"), 200),
            (Self.post("Expect: 100-continue \r\nContent-Length: 2", "{}"), 100), (Self.host("a:"), 200),
            (Self.host("[::1]:65535"), 200), (Self.host("a.b-c_d"), 200),
            (Self.post("Expect: 100-Continue\r\nContent-Length: 2", "{}"), 100),
            ("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", 200), ("\r\n\r\n" + Self.get("X: a"), 200),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 404), ("PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
            ("GET /api/users/%zz HTTP/1.1\r\nHost: a\r\n\r\n", 404),
            ("GET /api/users/%c0%af HTTP/1.1\r\nHost: a\r\n\r\n", 404),
            ("GET /api/users/\(String(repeating: "a", count: 8192)) HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ] {
            try await http.send(text)
            #expect(try await http.reply().status == status, "\(text.prefix(120))")
            if status == 100 { #expect(try await http.reply().status == 400) }
            #expect(try await http.get("/").status == 200, "after \(text.prefix(120))")
        }
        // A request for another protocol gets this one, and the response announces the end of the connection.
        for upgrade in ["Upgrade\r\nUpgrade: websocket", "Upgrade, HTTP2-Settings\r\nUpgrade: h2c"] {
            let other = try host.connect()
            try await other.send(Self.get("HTTP2-Settings: AA\r\nConnection: \(upgrade)"))
            let reply = try await other.reply()
            #expect(reply.status == 200 && reply["connection"] == "close" && reply["upgrade"] == nil)
            #expect(try await other.closes())
        }
        // As many as somebody likes to send at once.
        try await http.send(String(repeating: Self.get("X: a"), count: 2000))
        for _ in 0..<2000 { #expect(try await http.reply().status == 200) }
    }

    /// Chunk extensions are read by nobody, and would continue as long as a body may take.
    @Test func `extensions without end are cut`() async throws {
        let host = try await TestHost.start(workers: 1, home: nil)
        let http = try host.connect()
        try await http.send(
            Self.post("Transfer-Encoding: chunked", "2;a=\(String(repeating: "b", count: 4096))\r\n{}\r\n0\r\n\r\n"))
        #expect(try await http.reply().status == 400)
        #expect(try await http.get("/").status == 200, "that was a body, if no user")
        for beginning in ["2;a=", "2\r\n{}\r\n2;", "2\r\n{}\r\n0\r\nX: "] {
            let endless = try host.connect()
            // As much as it takes: what arrives after the answer is not read.
            try await endless.send(Self.post("Transfer-Encoding: chunked", beginning))
            try? await endless.send(String(repeating: "b", count: 1 << 20))
            #expect(try await endless.reply(within: .seconds(5)).status == 400, "after \(beginning)")
            #expect(try await endless.closes())
        }
    }
}
