import IPCWire
import NIOCore
import TestSupport
import Testing

/// Commands that Redis clients send first, and queries of people.
@Suite(.tags(.servers), .processes) struct ConnectionCommandTests {
    @Test func `greetings`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let client = try RESPSocket(path: syncd.socketPath)
        #expect(try await client.command("PING").string == "PONG", "before any HELLO")
        let plain = try await client.command("HELLO")
        #expect(plain["server"]?.string == "syncd" && plain["proto"]?.number == 2)
        guard case .array = plain else { return #expect(Bool(false), "RESP2 until HELLO 3: \(plain)") }
        let greeting = try await client.command("HELLO", "3", "AUTH", "user", "password", "SETNAME", "tester")
        guard case .map = greeting else { return #expect(Bool(false), "\(greeting)") }
        #expect(greeting["mode"]?.string == "standalone" && greeting["role"]?.string == "sidecar")
        #expect(greeting["modules"] == .array([]))
        #expect(greeting["state"]?.string == "attached" && greeting["trust-window-ms"]?.number == 1000)
        #expect(greeting["table"]?.string == syncd.directory.file("tags.table"))
        #expect(greeting["journal"]?.string == syncd.directory.file("journal"))
        #expect(greeting["incarnation"]?.string?.count == 32)
        #expect(try await client.command("CLIENT", "GETNAME").string == "tester")
        #expect(try await client.command("CLIENT", "ID") == greeting["id"])
        for wrong in ["1", "4", "x", "03", "9223372036854775808"] {
            #expect(try await client.command("HELLO", wrong).errorText?.hasPrefix("NOPROTO ") == true)
        }
        #expect(try await client.command("HELLO", "3", "AUTH", "user").errorText?.hasPrefix("ERR ") == true)
        #expect(try await client.command("CLIENT", "GETNAME").string == "tester", "a refused HELLO changes nothing")
        #expect(try await client.command("RESET").string == "RESET")
        #expect(try await client.command("CLIENT", "GETNAME") == .null)
        guard case .array = try await client.command("HELLO", "2") else { return #expect(Bool(false)) }
        #expect(try await client.command("QUIT").string == "OK")
        #expect(try await client.closes())
    }

    @Test func `what stock clients ask at first`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let client = try await syncd.connect()
        for command in [
            "CLIENT SETINFO LIB-NAME redis-py", "CLIENT SETINFO LIB-VER 5.0", "CLIENT SETNAME x", "SELECT 0",
            "CLIENT NO-EVICT on",
        ] {
            let words = command.split(separator: " ").map { ByteBuffer(string: String($0)) }
            #expect(try await client.command(words).string == "OK", "\(command)")
        }
        #expect(try await client.command("COMMAND", "COUNT").number == 0)
        #expect(try await client.command("COMMAND", "DOCS") == .map([]))
        #expect(try await client.command("COMMAND") == .array([]))
        #expect(try await client.command("CONFIG", "GET", "save") == .map([]))
        #expect(try await client.command("ECHO", "a\r\nb").string == "a\r\nb")
        #expect(try await client.command("ping", "x").string == "x", "in any case of letters")
        #expect(try await client.command("CLIENT", "INFO").string?.contains("name=x") == true)
        #expect(try await client.command("CLIENT", "LIST").string?.split(separator: "\n").count == 1)
    }

    /// Programs split these lines at these characters.
    @Test func `what a client calls itself is one word in every list`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let client = try await syncd.connect()
        try await client.command("CLIENT", "SETNAME", "a b=c\nid=99,x;y")
        #expect(try await client.command("REPORT", "rate", "1,name=evil;z").string == "OK")
        let line = try #require(try await client.command("CLIENT", "INFO").string)
        let pairs = line.split(whereSeparator: \.isWhitespace).map { $0.split(separator: "=") }
        #expect(
            pairs.allSatisfy { (1...2).contains($0.count) } && Set(pairs.map { $0[0] }).count == pairs.count, "\(line)")
        #expect(line.contains(#"name=a\x20b\x3dc\x0aid\x3d99,x;y"#), "\(line)")
        let info = try #require(try await client.command("INFO", "clients").string)
        #expect(
            info.contains(#"name=a b\x3dc\x0aid\x3d99\x2cx\x3by,"#) && info.contains(#"rate=1\x2cname\x3devil\x3bz"#),
            "\(info)")
    }

    @Test func `sections by name`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let client = try await syncd.connect()
        let info = try #require(try await client.command("INFO", "Log", "server", "persistence").string)
        #expect(info.hasPrefix("# Server\r\n") && info.contains("# Log\r\n") && !info.contains("# Cache"))
        #expect(try await client.command("INFO", "persistence").string == "", "as an exporter asks")
        let refusal = try #require(try await client.command("STATUS", "foo\n").errorText)
        #expect(
            refusal.hasPrefix(#"ERR STATUS has no section 'foo\x0a' here: it has server, log, cache"#), "\(refusal)")
    }

    @Test func `a command that is wrong is refused, and the connection stays`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let client = try await syncd.connect()
        let long = String(repeating: "k", count: 1025)
        let tags = (0..<65).map { "t\($0)" }
        let refused: [([String], String)] = [
            (["FLUSHALL"], "ERR unknown command 'FLUSHALL'"), (["GET", "a\r\nb"], "ERR unknown command 'GET'"),
            (["PING", "a", "b"], "ERR wrong number"), (["ECHO"], "ERR wrong number"), (["FETCH"], "ERR wrong number"),
            (["FETCH", ""], "ERR key is empty"), (["FETCH", long], "TOOBIG key"),
            (["FETCH", "k", "WAIT"], "ERR "), (["FETCH", "k", "WAIT", "-1"], "ERR "),
            (["FETCH", "k", "WAIT", "60001"], "ERR "), (["FETCH", "k", "SOON", "1"], "ERR "),
            (["FETCH", "k", "WAIT", "1", "x"], "ERR wrong number"),
            (["FILL", "k"], "ERR wrong number"), (["FILL", "k", "x", "1", "0", "v"], "ERR lease"),
            (["FILL", "k", "1", "0", "0", "v"], "ERR ttl-ms"),
            (["FILL", "k", "1", "86400001", "0", "v"], "ERR ttl-ms"),
            (["FILL", "k", "1", "+5", "0", "v"], "ERR "), (["FILL", "k", "1", "05", "0", "v"], "ERR "),
            (["FILL", "k", "1", "5", "2", "a"], "ERR wrong number"),
            (["FILL", "k", "1", "5", "0", "v", "x"], "ERR wrong number"),
            (["FILL", "k", "1", "5", "65"] + tags, "TOOBIG "),
            (["FILL", "k", "1", "5", "1", String(repeating: "t", count: 257)], "TOOBIG tag"),
            (["FILL", "k", "1", "5", "1", ""], "ERR tag is empty"),
            (["ABANDON", "k"], "ERR wrong number"), (["ABANDON", "k", "9007199254740993"], "ERR lease"),
            (["INVALIDATE"], "ERR "), (["INVALIDATE", "TAGS"], "ERR "), (["INVALIDATE", "users"], "ERR syntax"),
            (["INVALIDATE", "EVENT", "c", "TAGS"], "ERR "), (["INVALIDATE", "EVENT", "", "p", "TAGS", "a"], "ERR "),
            (["INVALIDATE", "TAGS", ""], "ERR tag is empty"),
            (["INVALIDATE", "TAGS", String(repeating: "t", count: 257)], "TOOBIG tag"),
            (["INVALIDATE", "TAGS", "=" + long], "TOOBIG tag"),
            (["INVALIDATE", "TAGS"] + (0..<1025).map { "t\($0)" }, "TOOBIG "),
            (["PUBLISH", "c"], "ERR wrong number"), (["PUBLISH", String(repeating: "c", count: 257), "p"], "TOOBIG "),
            (["SUBSCRIBE"], "ERR wrong number"), (["TRACK"], "ERR "), (["TRACK", "MAYBE"], "ERR TRACK"),
            (["REPORT", "a"], "ERR REPORT"), (["REPORT"], "ERR REPORT"), (["EXPLAIN"], "ERR wrong number"),
            (["STATUS", "a", "b"], "ERR wrong number"), (["SELECT", "1"], "ERR DB index"), (["SELECT", "x"], "ERR "),
            (["CLIENT", "KILL"], "ERR unknown subcommand"), (["CLIENT"], "ERR "),
            (["CONFIG", "SET", "a", "b"], "ERR "),
        ]
        for (words, start) in refused {
            let reply = try await client.command(words.map { ByteBuffer(string: $0) })
            let text = try #require(reply.errorText, "\(words.prefix(3)): \(reply)")
            #expect(text.hasPrefix(start), "\(words.prefix(3)): \(text)")
            #expect(text.utf8.allSatisfy { (0x20...0x7e).contains($0) } && text.utf8.count < 1000)
        }
        #expect(try await client.command("PING").string == "PONG")
        #expect(try await client.invalidate("=" + String(repeating: "k", count: 1024)) == 1, "none of them took effect")
    }

    @Test func `an error tells nothing that could end its line`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let client = try await syncd.connect()
        let name = ByteBuffer(string: "x\r\n+OK\r\n" + String(repeating: "y", count: 100_000))
        let reply = try await client.command([name, name])
        #expect(reply.errorText?.hasPrefix("ERR unknown command 'x\\x0d\\x0a+OK\\x0d\\x0ayyy") == true)
        #expect(try await client.command("PING").string == "PONG")
    }

    @Test func `REPORT, STATUS, INFO and EXPLAIN`() async throws {
        for home in Home.allCases {
            let (redis, syncd) = try await home.start()
            let client = try await syncd.connect(name: "worker 1")
            #expect(try await client.command("REPORT", "l1-hits", "3", "l1-misses", "1").string == "OK")
            #expect(try await client.command("REPORT", "l1-hits", "4").string == "OK")
            try await client.store("key", "value", tags: ["a", "b"])
            _ = try await client.hit("key")
            let status = try await client.command("STATUS")
            #expect(status["server"]?["pid"]?.number == Int(syncd.pid))
            #expect(status["log"]?["mode"]?.string == home.rawValue)
            #expect(status["log"]?["state"]?.string == "attached")
            #expect((status["redis"] != nil) == (home == .redis))
            if let redis {
                #expect(status["redis"]?["endpoint"]?.string == redis.url)
                #expect(status["redis"]?["connections"]?.number == 2)
                #expect(status["redis"]?["server-version"]?.string?.isEmpty == false)
            }
            #expect(status["cache"]?["hits"]?.number == 1 && status["cache"]?["fills"]?.number == 1)
            #expect(status["limits"]?["clients"]?.number == 1024)
            let own = try #require(status["clients"]?.elements?.first)
            #expect(own["name"]?.string == "worker 1" && own["uid"]?.number == 0 && own["pid"]?.number != 0)
            #expect(
                own["reported"] == .map(["l1-hits", "4", "l1-misses", "1"].map { .bulkString(ByteBuffer(string: $0)) }))
            #expect(try await client.command("STATUS", "log").elements?.count == 2)
            let info = try #require(try await client.command("INFO").string)
            #expect(info.contains("# Server\r\n") && info.contains("\r\nstate:attached\r\n"))
            #expect(try await client.command("INFO", "cache").string?.hasPrefix("# Cache\r\nhits:1\r\n") == true)

            let found = try await client.command("EXPLAIN", "key")
            #expect(found["where"]?.string == "L2" && found["fresh"] == .boolean(true))
            #expect(found["tags"]?.elements?.compactMap { $0["tag"]?.string } == ["a", "b", "=key", "*"])
            let position = try await client.invalidate("b")
            let stale = try await client.command("EXPLAIN", "key")
            #expect(stale["fresh"] == .boolean(false) && stale["why"]?.string?.contains("invalidated") == true)
            #expect(stale["tags"]?.elements?[1]["invalidated-at"]?.number == position)
            let lease = try await client.lease("leased")
            let leased = try await client.command("EXPLAIN", "leased")
            #expect(leased["where"]?.string == "leased" && leased["lease"]?.number == Int(lease.id.number))
            #expect(try await client.command("EXPLAIN", "nowhere")["where"]?.string == "absent")
        }
    }
}
