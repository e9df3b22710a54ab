import NIOCore
import Testing

@testable import IPCWire

/// From arguments to requests, and what is said when that can't be done: docs/protocol.md, "Commands", "Errors".
@Suite struct RequestParsingTests {
    /// The request of these words, or the code and text of the error.
    private func parse(_ words: String..., limits: WireLimits = WireLimits()) -> Parsed {
        parse(words.map { ByteBuffer(string: $0) }, limits)
    }

    private func parse(_ arguments: [ByteBuffer], _ limits: WireLimits = WireLimits()) -> Parsed {
        do throws(ReplyError) {
            return .request(try Request.parse(arguments, limits: limits))
        } catch {
            return .refusal(error.code, error.message)
        }
    }

    private enum Parsed: Equatable {
        case request(Request)
        case refusal(ErrorCode, String)

        var code: ErrorCode? { if case .refusal(let code, _) = self { code } else { nil } }
        var message: String { if case .refusal(_, let message) = self { message } else { "" } }
    }

    private func bytes(_ text: String) -> ByteBuffer { ByteBuffer(string: text) }
    private func bytes(_ count: Int) -> ByteBuffer { ByteBuffer(repeating: 97, count: count) }

    @Test func `words are recognized in any case`() {
        #expect(parse("fetch", "k") == .request(.fetch(key: bytes("k"), waitMilliseconds: nil)))
        #expect(parse("FeTcH", "k", "wAiT", "5") == .request(.fetch(key: bytes("k"), waitMilliseconds: 5)))
        #expect(parse("FETCH", "k", "Renew", "5") == .request(.renew(key: bytes("k"), ttlMilliseconds: 5)))
        #expect(parse("track", "on") == .request(.track(true)))
        #expect(parse("TRACK", "Off") == .request(.track(false)))
        #expect(parse("invalidate", "tags", "TAGS") == .request(.invalidate(tags: [bytes("TAGS")], event: nil)))
    }

    @Test func `SHUTDOWN takes the words of Redis, and no others`() {
        #expect(parse("SHUTDOWN") == .request(.shutdown))
        #expect(parse("shutdown", "nosave", "now", "FORCE") == .request(.shutdown))
        #expect(parse("SHUTDOWN", "xyz").message == "syntax error: SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE]")
    }

    @Test(arguments: [
        ["FETCH"], ["FETCH", "k", "WAIT"], ["FETCH", "k", "WAIT", "1", "x"], ["FILL"], ["FILL", "k"],
        ["FILL", "k", "1"],
        ["FILL", "k", "1", "1"], ["FILL", "k", "1", "1", "1"], ["FILL", "k", "1", "1", "0", "v", "x"], ["ABANDON"],
        ["ABANDON", "k"], ["ABANDON", "k", "1", "x"], ["INVALIDATE"], ["INVALIDATE", "EVENT"],
        ["INVALIDATE", "EVENT", "c"], ["INVALIDATE", "EVENT", "c", "p"], ["INVALIDATE", "AT"],
        ["INVALIDATE", "AT", "1", "2"], ["FEED"], ["FEED", "CLAIM"], ["FEED", "CLAIM", "a", "x"],
        ["FEED", "SAVE", "a", "t"], ["FEED", "SAVE", "a", "t", "0", "users", "1", "2", "1"], ["FEED", "RESET", "a"],
        ["PUBLISH"], ["PUBLISH", "c"],
        ["PUBLISH", "c", "p", "x"], ["SUBSCRIBE"], ["PSUBSCRIBE"], ["TRACK"], ["TRACK", "ON", "x"], ["EXPLAIN"],
        ["EXPLAIN", "k", "x"], ["STATUS", "log", "x"], ["PING", "a", "b"], ["ECHO"], ["ECHO", "a", "b"], ["SELECT"],
        ["SELECT", "0", "1"], ["RESET", "x"], ["CLIENT"], ["CLIENT", "SETNAME"], ["CONFIG"], ["HELLO", "3", "AUTH"],
        ["HELLO", "3", "AUTH", "u"], ["HELLO", "3", "SETNAME"], ["CLIENT", "ID", "x"], ["CLIENT", "LIST", "ID", "1"],
        ["CLIENT", "SETINFO", "LIB-NAME"], ["CLIENT", "NO-EVICT"], ["CLIENT", "INFO", "x"], ["CONFIG", "GET"], ["AUTH"],
        ["AUTH", "user", "secret", "x"],
    ]) func `a wrong number of arguments is refused, and the command is named`(words: [String]) {
        let refusal = parse(words.map(bytes))
        #expect(refusal.code == .generic)
        #expect(refusal.message.hasPrefix("wrong number of arguments for '\(words[0])': "), "\(refusal.message)")
    }

    @Test func `a missing argument is named`() {
        #expect(parse("FETCH").message == "wrong number of arguments for 'FETCH': key is missing")
        #expect(parse("ABANDON", "k").message == "wrong number of arguments for 'ABANDON': lease is missing")
        #expect(parse("ABANDON", "k", "1", "x", "y").message == "wrong number of arguments for 'ABANDON': 2 too many")
    }

    @Test(arguments: [
        ["INVALIDATE", "TAGS"], ["REPORT"], ["REPORT", "a"], ["REPORT", "a", "b", "c"], ["FETCH", "k", "x"],
        ["METRICS"], ["METRICS", "DEL"], ["METRICS", "GET", "0"], ["METRICS", "SET"], ["METRICS", "SET", "0"],
        ["METRICS", "SET", "0", "a 1\n", "b"], ["METRICS", "SET", "a b", ""], ["METRICS", "SET", "\"", ""],
        ["METRICS", "SET", "é", ""], ["METRICS", "SET", String(repeating: "x", count: 65), ""],
        ["INVALIDATE", "x"], ["INVALIDATE", "EVENT", "c", "p", "x"], ["TRACK", "x"], ["SELECT", "1"],
        ["CONFIG", "SET"],
        ["CLIENT", "KILL"], ["CLIENT", "NO-EVICT", "maybe"], ["HELLO", "3", "x"], ["FETCH", ""],
        ["FILL", "", "1", "1", "0"], ["ABANDON", "", "1"],
        ["INVALIDATE", "TAGS", ""], ["PUBLISH", "", "p"], ["SUBSCRIBE", "a", ""], ["EXPLAIN", ""],
        ["FILL", "k", "1", "1", "1", "", "v"], ["GET", "k"], [""], ["FETCH\0", "k"],
    ]) func `what is wrong otherwise is refused, too`(words: [String]) {
        let refusal = parse(words.map(bytes))
        #expect(refusal.code == .generic)
        #expect(!refusal.message.isEmpty)
    }

    // MARK: Numbers

    private static let badNumbers = [
        "", "+5", "-5", "-0", "05", "00", " 5", "5 ", "5.0", "5e0", "0x5", "٥", "५", "𝟓", "1_0", "1,0", "NaN", "inf",
        "5\0",
        "9007199254740993", "9223372036854775807", "9223372036854775808", "18446744073709551616", "99999999999999999",
    ]

    @Test(arguments: badNumbers) func `what is no plain number is refused everywhere`(text: String) {
        for (words, name) in [
            (["FETCH", "k", "WAIT", text], "ms"), (["ABANDON", "k", text], "lease"),
            (["FILL", "k", text, "1", "0"], "lease"), (["FILL", "k", "1", text, "0"], "ttl-ms"),
            (["FILL", "k", "1", "1", text], "tag-count"), (["SELECT", text], "index"),
        ] {
            let refusal = parse(words.map(bytes))
            #expect(refusal.code == .generic)
            #expect(
                refusal.message == "\(name) is not a number: plain decimal digits, at most 2^53, are expected",
                "\(words)")
        }
        #expect(parse("HELLO", text).code == .noProtocol)
    }

    @Test func `the greatest number is 2^53`() {
        #expect(parse("ABANDON", "k", "9007199254740992") == .request(.abandon(key: bytes("k"), lease: .greatest)))
        #expect(parse("ABANDON", "k", "0") == .request(.abandon(key: bytes("k"), lease: 0)))
        #expect(parse("ABANDON", "k", "9007199254740993").code == .generic)
    }

    @Test func `times have ranges`() {
        #expect(parse("FETCH", "k", "WAIT", "60000") == .request(.fetch(key: bytes("k"), waitMilliseconds: 60_000)))
        #expect(parse("FETCH", "k", "WAIT", "60001").message == "WAIT is at most 60000 ms")
        #expect(parse("FETCH", "k", "WAIT", "0") == .request(.fetch(key: bytes("k"), waitMilliseconds: 0)))
        #expect(parse("FETCH", "k", "RENEW", "0") == .request(.renew(key: bytes("k"), ttlMilliseconds: 0)))
        #expect(parse("FETCH", "k", "RENEW", "86400001").message == "RENEW is at most 86400000 ms")
        #expect(parse("FETCH", "k", "RENEW", "1", "WAIT", "1").code == .generic)
        #expect(parse("FILL", "k", "1", "0", "0").message == "ttl-ms is 1 to 86400000")
        #expect(parse("FILL", "k", "1", "86400001", "0").message == "ttl-ms is 1 to 86400000")
        #expect(parse("FILL", "k", "1", "86400000", "0").code == nil)
        #expect(parse("FILL", "k", "1", "1", "0").code == nil)
    }

    // MARK: Limits

    @Test func `at a limit all is well, one beyond it is too big`() {
        let word = { (text: String) in ByteBuffer(string: text) }
        let cases: [(String, Int, (Int) -> [ByteBuffer])] = [
            ("key", 1024, { [word("FETCH"), bytes($0)] }),
            ("key", 1024, { [word("FILL"), bytes($0), word("1"), word("1"), word("0")] }),
            ("key", 1024, { [word("ABANDON"), bytes($0), word("1")] }),
            ("key", 1024, { [word("EXPLAIN"), bytes($0)] }),
            ("tag", 256, { [word("FILL"), word("k"), word("1"), word("1"), word("1"), bytes($0)] }),
            ("tag", 256, { [word("INVALIDATE"), word("TAGS"), bytes($0)] }),
            (
                "tag", 1025,
                { [word("INVALIDATE"), word("TAGS"), ByteBuffer(string: "=" + String(buffer: bytes($0 - 1)))] }
            ),
            ("channel", 256, { [word("PUBLISH"), bytes($0), word("p")] }),
            ("channel", 256, { [word("INVALIDATE"), word("EVENT"), bytes($0), word("p"), word("TAGS"), word("t")] }),
            ("channel", 256, { [word("SUBSCRIBE"), word("a"), bytes($0)] }),
            ("channel", 256, { [word("PSUBSCRIBE"), bytes($0)] }),
            ("channel", 256, { [word("UNSUBSCRIBE"), bytes($0)] }),
            ("name", 256, { [word("CLIENT"), word("SETNAME"), bytes($0)] }),
            ("name", 256, { [word("HELLO"), word("3"), word("SETNAME"), bytes($0)] }),
            ("a reported field", 256, { [word("REPORT"), bytes($0), word("1")] }),
            ("a reported field", 256, { [word("REPORT"), word("a"), bytes($0)] }),
            ("a report of metrics", 256 << 10, { [word("METRICS"), word("SET"), word("0"), bytes($0)] }),
            ("a value", 8 << 20, { [word("FILL"), word("k"), word("1"), word("1"), word("0"), bytes($0)] }),
        ]
        for (name, limit, command) in cases {
            #expect(parse(command(limit)).code == nil, "\(name)")
            #expect(parse(command(limit + 1)).code == .tooBig, "\(name)")
            #expect(
                parse(command(limit + 1)).message.hasPrefix("\(name) has at most \(limit) bytes") || name == "tag",
                "\(name)")
            #expect(parse(command(65_536)).code == (limit > 65_536 ? nil : .tooBig), "\(name)")
        }
    }

    @Test func `numbers of tags are bounded, whatever is announced`() {
        let tags = (0..<1025).map { ByteBuffer(string: "t\($0)") }
        #expect(parse([bytes("INVALIDATE"), bytes("TAGS")] + tags.prefix(1024)).code == nil)
        #expect(parse([bytes("INVALIDATE"), bytes("TAGS")] + tags).message == "an invalidation has at most 1024 tags")
        #expect(parse([bytes("INVALIDATE"), bytes("TAGS")] + tags).code == .tooBig)
        let fill = ["FILL", "k", "1", "1"].map(bytes)
        #expect(parse(fill + [bytes("64")] + tags.prefix(64) + [bytes("v")]).code == nil)
        #expect(parse(fill + [bytes("65")] + tags.prefix(65) + [bytes("v")]).message == "an entry has at most 64 tags")
        #expect(parse(fill + [bytes("9007199254740992")] + tags.prefix(3)).code == .tooBig)
        #expect(parse(fill + [bytes("3")] + tags.prefix(2)).code == .generic, "fewer than announced")
    }

    @Test func `limits can be set`() {
        var limits = WireLimits()
        limits.keyBytes = 3
        limits.tagsPerEntry = 1
        limits.valueBytes = 2
        #expect(parse("FETCH", "abcd", limits: limits).message == "key has at most 3 bytes")
        #expect(parse("FILL", "k", "1", "1", "2", "a", "b", limits: limits).code == .tooBig)
        #expect(parse("FILL", "k", "1", "1", "0", "abc", limits: limits).message == "a value has at most 2 bytes")
    }

    // MARK: Kinds of requests

    @Test func `a fill without a value is a negative result, an empty value is a value`() {
        func fill(_ value: ByteBuffer?) -> Parsed {
            .request(.fill(Fill(key: bytes("k"), lease: 7, ttlMilliseconds: 9, tags: [bytes("t")], value: value)))
        }
        #expect(parse("FILL", "k", "7", "9", "1", "t") == fill(nil))
        #expect(parse("FILL", "k", "7", "9", "1", "t", "") == fill(ByteBuffer()))
    }

    @Test func `protocol versions`() {
        #expect(parse("HELLO") == .request(.hello(version: nil, name: nil)))
        #expect(parse("HELLO", "2") == .request(.hello(version: .v2, name: nil)))
        #expect(
            parse("HELLO", "3", "AUTH", "default", "secret", "SETNAME", "me")
                == .request(.hello(version: .v3, name: bytes("me"))))
        for version in ["0", "1", "4", "03", "three", "9007199254740992", "99999999999999999999"] {
            #expect(parse("HELLO", version).code == .noProtocol)
        }
    }

    @Test func `unsubscribing from everything names no channel`() {
        #expect(parse("UNSUBSCRIBE") == .request(.unsubscribe([])))
        #expect(parse("PUNSUBSCRIBE") == .request(.patternUnsubscribe([])))
        #expect(parse("UNSUBSCRIBE", "a", "a") == .request(.unsubscribe([bytes("a"), bytes("a")])))
    }

    @Test func `what stock clients say before anything else is understood`() {
        for words in [
            ["CLIENT", "SETINFO", "LIB-NAME", "redis-py"], ["CLIENT", "SETINFO", "lib-ver", "5.0"],
            ["CLIENT", "NO-EVICT", "on"], ["CLIENT", "NO-TOUCH", "ON"], ["AUTH", "password"],
            ["auth", "user", "password"],
        ] {
            #expect(parse(words.map(bytes)) == .request(.client(.accepted)))
        }
        #expect(parse("CLIENT", "ID") == .request(.client(.id)))
        #expect(parse("client", "getname") == .request(.client(.getName)))
        #expect(parse("CLIENT", "LIST") == .request(.client(.list)))
        #expect(parse("CLIENT", "INFO") == .request(.client(.info)))
        #expect(parse("COMMAND") == .request(.command(.all)))
        #expect(parse("COMMAND", "DOCS") == .request(.command(.docs)))
        #expect(parse("COMMAND", "COUNT") == .request(.command(.count)))
        #expect(parse("COMMAND", "INFO", "get") == .request(.command(.other)))
        #expect(parse("CONFIG", "GET", "save") == .request(.configGet))
        #expect(parse("SELECT", "0") == .request(.select))
        #expect(parse("PING") == .request(.ping(nil)))
        #expect(parse("PING", "hi") == .request(.ping(bytes("hi"))))
        #expect(parse("INFO", "server") == .request(.info(sections: ["server"])))
        #expect(parse("INFO", "server", "log") == .request(.info(sections: ["server", "log"])))
        #expect(parse("QUIT") == .request(.quit))
        #expect(parse("RESET") == .request(.reset))
    }

    @Test func `an unknown command is named, shortened and escaped`() {
        #expect(parse("GET", "k").message == "unknown command 'GET', with args beginning with: 'k'")
        #expect(parse("NO").message == "unknown command 'NO'")
        let refusal = parse([ByteBuffer(bytes: [0x41, 13, 10, 0x2b, 0x4f, 0x4b, 13, 10, 0xff, 0x5c])])
        #expect(refusal.message == "unknown command 'A\\x0d\\x0a+OK\\x0d\\x0a\\xff\\\\'")
        let long = parse([bytes("X"), bytes(10_000)] + (0..<50).map { ByteBuffer(string: "a\($0)") })
        #expect(long.message.utf8.count < 600)
    }
}
