import IPCWire

/// Bytes, and what a decoder makes of them: the frames, each as text, and `!` with the error (see `Decoded.swift`).
struct CorpusItem: Sendable, CustomStringConvertible {
    var name: String
    var bytes: [UInt8]
    var expected: [String]
    var description: String { name }

    init(_ name: String, _ bytes: [UInt8], _ expected: [String] = []) {
        self.name = name
        self.bytes = bytes
        self.expected = expected
    }

    /// An item whose name is its text.
    init(_ text: String, _ expected: [String] = []) {
        self.init(text.debugDescription, Array(text.utf8), expected)
    }

    init(_ text: String, fails error: RESPError) { self.init(text, ["!\(error)"]) }

    init(_ name: String, _ bytes: [UInt8], fails error: RESPError) { self.init(name, bytes, ["!\(error)"]) }
}

/// Lengths that are none, for every header that has one.
enum BadLengths {
    static let texts = [
        "-2", "+5", "05", "00", " 5", "5 ", "\t5", "0x5", "5e0", "٥", "५", "", "-", "--1", "-0", "5\0", "1_000", "1,0",
        "9223372036854775807", "9223372036854775808", "18446744073709551616", "99999999999999999999",
        "9007199254740993", "-9223372036854775808", "-1 ", "-01", "NaN", "inf",
    ]
}

/// Input that a client may send to syncd, and worse.
enum CommandCorpus {
    private static let limits = WireLimits()
    private static let tooLarge = RESPError.frameTooLarge(limit: limits.frameBytes)
    private static let tooMany = RESPError.tooManyElements(limit: limits.frameElements)

    static let items: [CorpusItem] = good + incomplete + lengths + types + lineEnds + crossProtocol

    static let good: [CorpusItem] = [
        CorpusItem("*1\r\n$4\r\nPING\r\n", ["[PING]"]),
        CorpusItem("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhello\r\n", ["[SET|k|hello]"]),
        CorpusItem("*1\r\n$0\r\n\r\n", ["[]"]),
        CorpusItem("*2\r\n$0\r\n\r\n$0\r\n\r\n", ["[|]"]),
        CorpusItem("*1\r\n$2\r\n\r\n\r\n", ["[\\x0d\\x0a]"]),
        CorpusItem("*1\r\n$8\r\n$3\r\nabc\r\r\n", ["[$3\\x0d\\x0aabc\\x0d]"]),
        CorpusItem("*1\r\n$3\r\na\0b\r\n", ["[a\\x00b]"]),
        CorpusItem("pipelined", Array("*1\r\n$1\r\na\r\n*2\r\n$1\r\nb\r\n$1\r\nc\r\n".utf8), ["[a]", "[b|c]"]),
        CorpusItem(
            "any bytes", wire("*2\r\n$3\r\n".utf8, [0xff, 0x00, 0xfe], "\r\n$2\r\n".utf8, [0xc3, 0xa9], "\r\n".utf8),
            ["[\\xff\\x00\\xfe|\\xc3\\xa9]"]),
        CorpusItem("good, then bad", Array("*1\r\n$1\r\na\r\n*0\r\n".utf8), ["[a]", "!\(RESPError.emptyCommand)"]),
    ]

    /// Nothing is wrong with these, and nothing comes of them.
    static let incomplete: [CorpusItem] = [
        "", "*", "*1", "*1\r", "*1\r\n", "*1\r\n$", "*1\r\n$1", "*1\r\n$1\r\n", "*1\r\n$1\r\na", "*1\r\n$1\r\na\r",
        "*2\r\n$1\r\na\r\n", "*65536\r\n",
    ].map { CorpusItem($0) }

    static let lengths: [CorpusItem] =
        BadLengths.texts.flatMap { text in
            [
                CorpusItem("*\(text)\r\n", fails: .invalidLength),
                CorpusItem("*1\r\n$\(text)\r\n", fails: .invalidLength),
            ]
        } + [
            CorpusItem("*-1\r\n", fails: .invalidLength),
            CorpusItem("*1\r\n$-1\r\n", fails: .invalidLength),
            CorpusItem("*0\r\n", fails: .emptyCommand),
            CorpusItem("*?\r\n", fails: .invalidLength),
            CorpusItem("*1\r\n$?\r\n", fails: .invalidLength),
            CorpusItem("*65537\r\n", fails: tooMany),
            CorpusItem("*1000000\r\n", fails: tooMany),
            CorpusItem("*2147483647\r\n", fails: tooMany),
            CorpusItem("*4294967296\r\n", fails: tooMany),
            CorpusItem("*9007199254740992\r\n", fails: tooMany),
            CorpusItem("*1\r\n$16777217\r\n", fails: tooLarge),
            CorpusItem("*1\r\n$536870912\r\n", fails: tooLarge),
            CorpusItem("*1\r\n$2147483647\r\n", fails: tooLarge),
            CorpusItem("*1\r\n$9007199254740992\r\n", fails: tooLarge),
            CorpusItem("20 000 digits", Array(("*" + String(repeating: "1", count: 20_000)).utf8), fails: .lineTooLong),
            CorpusItem(
                "20 000 digits of a bulk string", Array(("*1\r\n$" + String(repeating: "1", count: 20_000)).utf8),
                fails: .lineTooLong),
        ]

    /// Only arrays of bulk strings are requests, whatever the first byte.
    static let types: [CorpusItem] =
        (UInt8.min...UInt8.max).filter { $0 != UInt8(ascii: "*") }.map {
            CorpusItem("first byte \($0)", [$0] + Array("1\r\n$1\r\na\r\n".utf8), fails: .expectedArray)
        }
        + (UInt8.min...UInt8.max).filter { $0 != UInt8(ascii: "$") }.map {
            CorpusItem(
                "type of an argument \($0)", wire("*1\r\n".utf8, [$0], "1\r\na\r\n".utf8), fails: .expectedBulkString)
        }

    static let lineEnds: [CorpusItem] = [
        CorpusItem("*1\n$4\nPING\n", fails: .invalidLineEnd),
        CorpusItem("*1\r$4\rPING\r", fails: .invalidLineEnd),
        CorpusItem("*1\r\r\n", fails: .invalidLineEnd),
        CorpusItem("*1\n\r", fails: .invalidLineEnd),
        CorpusItem("*1\r\n$1\n", fails: .invalidLineEnd),
        CorpusItem("*1\r\n$1\r\na\n\r", fails: .invalidLineEnd),
        CorpusItem("*1\r\n$1\r\na\r\r", fails: .invalidLineEnd),
        CorpusItem("*1\r\n$1\r\nabc\r\n", fails: .invalidLineEnd),
        CorpusItem("*2\r\n$1\r\na$1\r\nb\r\n", fails: .invalidLineEnd),
        CorpusItem("*1\0\r\n", fails: .invalidLength),
    ]

    static let crossProtocol: [CorpusItem] = [
        // Empty lines between requests are passed over.
        CorpusItem("an empty line before", Array("\r\n*1\r\n$1\r\na\r\n".utf8), ["[a]"]),
        CorpusItem(
            "empty lines between", Array("*1\r\n$1\r\na\r\n\r\n\n\r\n*1\r\n$1\r\nb\r\n\n".utf8), ["[a]", "[b]"]),
        CorpusItem("\r*1\r\n$1\r\na\r\n", fails: .expectedArray),
        CorpusItem("\r\r\n", fails: .expectedArray),
        CorpusItem("\r\nPING\r\n", fails: .expectedArray),
        CorpusItem("PING\r\n", fails: .expectedArray),
        CorpusItem("GET a b c\r\n", fails: .expectedArray),
        CorpusItem("SET k \"unbalanced\r\n", fails: .expectedArray),
        CorpusItem("GET * \r\n", fails: .expectedArray),
        CorpusItem("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", fails: .expectedArray),
        CorpusItem("POST / HTTP/1.1\r\n\r\n*1\r\n$4\r\nPING\r\n", fails: .expectedArray),
        CorpusItem("*1\r\nGET / HTTP/1.1\r\n", fails: .expectedBulkString),
        CorpusItem(
            "an inline command of 64 KiB", Array(repeating: UInt8(ascii: "a"), count: 65_537), fails: .expectedArray),
        CorpusItem("a TLS ClientHello", [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc], fails: .expectedArray),
        CorpusItem(">2\r\n$1\r\na\r\n$1\r\nb\r\n", fails: .expectedArray),
        CorpusItem("*1\r\n:1\r\n", fails: .expectedBulkString),
        CorpusItem("*1\r\n*1\r\n$1\r\na\r\n", fails: .expectedBulkString),
    ]
}
