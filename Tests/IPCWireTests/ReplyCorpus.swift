import IPCWire

/// Output that syncd, or an impostor, may send to a client, and worse.
enum ReplyCorpus {
    private static let limits = WireLimits()
    private static let tooLarge = RESPError.frameTooLarge(limit: limits.frameBytes)
    private static let tooMany = RESPError.tooManyElements(limit: limits.frameElements)
    private static let tooDeep = RESPError.nestedTooDeep(limit: limits.nestingDepth)

    static let items: [CorpusItem] = good + attributes + incomplete + lengths + numbers + types + nesting + lineEnds

    static let good: [CorpusItem] = [
        CorpusItem("+OK\r\n", ["+OK"]),
        CorpusItem("+\r\n", ["+"]),
        CorpusItem("-ERR no\r\n", ["-ERR no"]),
        CorpusItem("$5\r\nhello\r\n", ["$hello"]),
        CorpusItem("$0\r\n\r\n", ["$"]),
        CorpusItem("$-1\r\n", ["_"]),
        CorpusItem("*-1\r\n", ["_"]),
        CorpusItem("_\r\n", ["_"]),
        CorpusItem("*0\r\n", ["*[]"]),
        CorpusItem("%0\r\n", ["%[]"]),
        CorpusItem("~0\r\n", ["~[]"]),
        CorpusItem(">0\r\n", [">[]"]),
        CorpusItem("*3\r\n:1\r\n$1\r\na\r\n*1\r\n+b\r\n", ["*[:1 $a *[+b]]"]),
        CorpusItem("*2\r\n*0\r\n*0\r\n", ["*[*[] *[]]"]),
        CorpusItem("%2\r\n+a\r\n:1\r\n+b\r\n_\r\n", ["%[+a :1 +b _]"]),
        CorpusItem("~2\r\n:1\r\n:2\r\n", ["~[:1 :2]"]),
        CorpusItem(">2\r\n+heartbeat\r\n:1\r\n:9\r\n", [">[+heartbeat :1]", ":9"]),
        CorpusItem("#t\r\n#f\r\n", ["#t", "#f"]),
        CorpusItem("=7\r\ntxt:abc\r\n", ["=txt:abc"]),
        CorpusItem("=4\r\ntxt:\r\n", ["=txt:"]),
        CorpusItem("!5\r\nERR x\r\n", ["-ERR x"]),
        CorpusItem("(123456789012345678901234567890\r\n(-1\r\n", ["(123456789012345678901234567890", "(-1"]),
        CorpusItem("$4\r\n\r\n\r\n\r\n", ["$\\x0d\\x0a\\x0d\\x0a"]),
    ]

    /// An attribute says something about what follows, which takes its place.
    static let attributes: [CorpusItem] = [
        CorpusItem("|1\r\n+ttl\r\n:3\r\n+OK\r\n", ["+OK"]),
        CorpusItem("|0\r\n+OK\r\n", ["+OK"]),
        CorpusItem("*2\r\n|1\r\n+a\r\n+b\r\n:1\r\n:2\r\n", ["*[:1 :2]"]),
        CorpusItem("*1\r\n|0\r\n:1\r\n", ["*[:1]"]),
        CorpusItem("|1\r\n|1\r\n+a\r\n+b\r\n+c\r\n+d\r\n:1\r\n", [":1"]),
        CorpusItem("|1\r\n+a\r\n*2\r\n:1\r\n:2\r\n$1\r\nx\r\n", ["$x"]),
        CorpusItem("*1\r\n|1\r\n+a\r\n+b\r\n"),
    ]

    static let incomplete: [CorpusItem] = [
        "", "+", "+OK", "+OK\r", "$", "$5\r\nhel", "$5\r\nhello", "$5\r\nhello\r", "*1\r\n", "*2\r\n:1\r\n",
        "%1\r\n:1\r\n",
        "|1\r\n+a\r\n+b\r\n", "(12", ",1.", ">1\r\n",
    ].map { CorpusItem($0) }

    static let lengths: [CorpusItem] =
        BadLengths.texts.flatMap { text in
            ["$", "!", "=", "*", "%", "~", ">", "|"].map { CorpusItem("\($0)\(text)\r\n", fails: .invalidLength) }
        }
        + ["!", "=", "%", "~", ">", "|"].map { CorpusItem("\($0)-1\r\n", fails: .invalidLength) }
        + ["$", "!", "=", "*", "%", "~", ">", "|"].map { CorpusItem("\($0)?\r\n", fails: .streamedType) }
        + ["*", "~", ">"].map { CorpusItem("\($0)65537\r\n", fails: tooMany) }
        + ["%", "|"].map { CorpusItem("\($0)32769\r\n", fails: tooMany) }
        + ["*", "%", "~", ">", "|"].flatMap { type in
            ["1000000", "2147483647", "4294967296", "9007199254740992"].map {
                CorpusItem("\(type)\($0)\r\n", fails: tooMany)
            }
        }
        + ["$", "!", "="].flatMap { type in
            ["16777217", "536870912", "2147483647", "9007199254740992"].map {
                CorpusItem("\(type)\($0)\r\n", fails: tooLarge)
            }
        } + [
            CorpusItem("=3\r\nabc\r\n", fails: .invalidLength),
            CorpusItem("=0\r\n\r\n", fails: .invalidLength),
            CorpusItem("=4\r\nabcd\r\n", fails: .invalidLength),
            CorpusItem("!3\r\nERR x\r\n", fails: .invalidLineEnd),
            CorpusItem(
                "elements of several aggregates", Array("*2\r\n*65000\r\n*0\r\n".utf8)),
            CorpusItem("*2\r\n*65535\r\n", fails: tooMany),
            CorpusItem(
                "a simple string of 64 KiB", [0x2b] + [UInt8](repeating: 97, count: 65_537), fails: .lineTooLong),
            CorpusItem("a big number of 1 MiB", [0x28] + [UInt8](repeating: 49, count: 1 << 20), fails: .lineTooLong),
        ]

    static let numbers: [CorpusItem] =
        [
            CorpusItem(":0\r\n:-1\r\n:42\r\n", [":0", ":-1", ":42"]),
            CorpusItem(":9223372036854775807\r\n", [":9223372036854775807"]),
            CorpusItem(":-9223372036854775808\r\n", [":-9223372036854775808"]),
            CorpusItem(",1.5\r\n,-0.25\r\n,1e3\r\n,10\r\n", [",1.5", ",-0.25", ",1000.0", ",10.0"]),
            CorpusItem(",inf\r\n,-inf\r\n,nan\r\n", [",inf", ",-inf", ",nan"]),
        ]
        + [
            ":", ":+5", ":-0", ":05", ":-05", ": 5", ":5 ", ":1.0", ":1e3", ":٥", ":-", ":9223372036854775808",
            ":-9223372036854775809", ":99999999999999999999", ",", ",.", ",e", ",0x10", ",1,5", ",infinity", ",NAN",
            ",++1",
            ",\(String(repeating: "1", count: 65))", "(", "(-", "(1.5", "(+1", "(1a", "#", "#x", "#true", "#tt",
        ].map { CorpusItem("\($0)\r\n", fails: .invalidNumber) }
        + [CorpusItem("_x\r\n", fails: .invalidLength)]

    static let types: [CorpusItem] = (UInt8.min...UInt8.max).filter { !"+-:$*_,#!=(%~>|\r\n".utf8.contains($0) }.map {
        CorpusItem("first byte \($0)", [$0] + Array("1\r\n".utf8), fails: .unknownType)
    }

    static let nesting: [CorpusItem] = [
        CorpusItem(String(repeating: "*1\r\n", count: 8) + ":1\r\n", ["*[*[*[*[*[*[*[*[:1]]]]]]]]"]),
        CorpusItem(String(repeating: "*1\r\n", count: 9), fails: tooDeep),
        CorpusItem("100 deep", Array(String(repeating: "*1\r\n", count: 100).utf8), fails: tooDeep),
        CorpusItem("100 000 deep", Array(String(repeating: "*1\r\n", count: 100_000).utf8), fails: tooDeep),
        CorpusItem("attributes 9 deep", Array(String(repeating: "|1\r\n", count: 9).utf8), fails: tooDeep),
    ]

    static let lineEnds: [CorpusItem] = [
        CorpusItem("+OK\n", fails: .invalidLineEnd),
        CorpusItem("+a\rb\r\n", fails: .invalidLineEnd),
        CorpusItem("+a\nb\r\n", fails: .invalidLineEnd),
        CorpusItem("\r\n", fails: .unknownType),
        CorpusItem("\n", fails: .invalidLineEnd),
        CorpusItem("-a\r\r\n", fails: .invalidLineEnd),
        CorpusItem("$1\r\na\n\r", fails: .invalidLineEnd),
        CorpusItem("$1\r\nab\r\n", fails: .invalidLineEnd),
        CorpusItem("+a\0b\r\n", ["+a\\x00b"]),
        CorpusItem("*1\r\n$2\r\na\r\n\r\n", fails: .invalidLineEnd),
    ]
}
