import Foundation
import TestSupport
import Testing

/// Redis clients that know nothing of syncd: redis-cli and redis-py, in both protocol versions.
@Suite(.tags(.preciseTiming), .processes) struct StockClientTests {
    private func redisCLI(_ syncd: SyncdProcess, _ arguments: [String]) async throws -> Finished {
        try await ChildProcess.run(
            try Executables.find("redis-cli"), ["-s", syncd.socketPath] + arguments, environment: ["HOME": "/nowhere"])
    }

    @Test(arguments: Home.allCases, [["-3"], ["-2"], []]) func `redis-cli`(home: Home, version: [String]) async throws {
        let (redis, syncd) = try await home.start()
        func run(_ arguments: String...) async throws -> String {
            let finished = try await redisCLI(syncd, version + arguments)
            #expect(finished.exit == .status(0) && finished.errors.isEmpty, "\(arguments): \(finished)")
            return finished.output
        }
        #expect(try await run("PING") == "PONG\n")
        #expect(try await run("PING", "a b") == "a b\n")
        #expect(try await run("STATUS").contains("attached"))
        #expect(try await run("INFO", "log").contains("state:attached"))
        let lease = try await run("FETCH", "key").split(separator: "\n")
        #expect(lease.first == "lease" && lease.count == 4)
        // A lease ends with its connection: redis-cli takes several commands from a script.
        let script = try syncd.directory.write(
            "FETCH script\nINVALIDATE TAGS users\nSUBSCRIBE\nNONSENSE 1\n", to: "script")
        let piped = try await ChildProcess.run(
            try Executables.find("sh"),
            ["-c", "redis-cli -s \(syncd.socketPath) \(version.joined(separator: " ")) < \(script)"],
            environment: ["HOME": "/nowhere"])
        #expect(piped.output.contains("lease\n"))
        #expect(
            piped.output.contains("wrong number of arguments") && piped.output.contains("unknown command 'NONSENSE'"))
        #expect(Int(try await run("INVALIDATE", "TAGS", "users").trimmingCharacters(in: .newlines)) != nil)
        #expect(try await run("CLIENT", "LIST").contains("name="))
        #expect(try await run("EXPLAIN", "key").contains("absent"))
        withExtendedLifetime(redis) {}
    }

    /// redis-cli sends an empty line, and then an ECHO whose reply ends it.
    @Test func `redis-cli --pipe`() async throws {
        let (_, syncd) = try await Home.embedded.start()
        let commands = String(repeating: "*1\r\n$4\r\nPING\r\n", count: 1000)
        let file = try syncd.directory.write(commands, to: "commands")
        let piped = try await ChildProcess.run(
            try Executables.find("sh"), ["-c", "redis-cli -s \(syncd.socketPath) --pipe < \(file)"],
            environment: ["HOME": "/nowhere"])
        #expect(piped.exit == .status(0) && piped.output.contains("errors: 0, replies: 1000"), "\(piped)")
    }

    @Test(arguments: ["-3", "-2"]) func `redis-cli subscribes`(version: String) async throws {
        let (_, syncd) = try await Home.embedded.start()
        let subscriber = try ChildProcess(
            try Executables.find("redis-cli"), ["-s", syncd.socketPath, version, "SUBSCRIBE", "user:created"],
            environment: ["HOME": "/nowhere"])
        try await eventually("it hears", details: { subscriber.transcript }) {
            try await syncd.command("PUBLISH", "user:created", "hello").number == 1
        }
        await eventually("it prints", details: { subscriber.transcript }) { subscriber.output.contains("hello") }
        #expect(subscriber.output.hasPrefix("subscribe\nuser:created\n1\n") || version == "-3")
    }

    /// Python with redis-py, as scripts/install-dependencies leaves it.
    private static func python() throws -> String {
        let path = "\(Executables.packageFolder)/.build/servers/python/bin/python3"
        guard FileManager.default.isExecutableFile(atPath: path) else {
            throw TestFailure("redis-py is missing: scripts/install-dependencies puts it into .build/servers")
        }
        return path
    }

    private static let program = """
        import sys, threading, redis
        path, protocol = sys.argv[1], int(sys.argv[2])
        client = redis.Redis(unix_socket_path=path, protocol=protocol, client_name='python')
        assert client.ping() is True
        assert client.echo('é\\r\\n') == 'é\\r\\n'.encode()
        assert client.client_getname() in (b'python', 'python')
        info = client.client_info()
        assert info['name'] == 'python'
        # redis-py 5.0 fails without these.
        for field in ('id age idle db sub psub multi qbuf qbuf-free obl argv-mem oll omem tot-mem').split():
            assert isinstance(int(info[field]), int), field
        assert [each['name'] for each in client.client_list()] == ['python']
        known = redis.Redis(unix_socket_path=path, protocol=protocol, username='u', password='p')
        assert known.ping()
        known.close()
        status = client.execute_command('STATUS')
        flat = status if isinstance(status, dict) else dict(zip(status[0::2], status[1::2]))
        log = flat[b'log']
        log = log if isinstance(log, dict) else dict(zip(log[0::2], log[1::2]))
        assert log[b'state'] == b'attached', log
        # One connection: a lease belongs to the connection that got it.
        one = redis.Redis(unix_socket_path=path, protocol=protocol, single_connection_client=True)
        kind, lease, as_of, epoch = one.execute_command('FETCH', 'python:key')
        assert kind == b'lease', kind
        assert one.execute_command('FILL', 'python:key', lease, 60000, 2, 'users', b'\\xff\\x00', b'va\\r\\nlue') in (b'OK', True, 'OK')
        for _ in range(100):
            hit = one.execute_command('FETCH', 'python:key')
            if hit[0] == b'hit': break
        assert hit[0] == b'hit' and hit[1] == b'va\\r\\nlue' and hit[4] == [b'users', b'\\xff\\x00'], hit
        position = one.execute_command('INVALIDATE', 'EVENT', 'python', 'payload', 'TAGS', 'users')
        assert isinstance(position, int) and position > as_of, position
        answer = one.execute_command('FETCH', 'python:key')
        assert answer[0] == b'lease', answer
        try:
            one.execute_command('FILL', 'python:key', lease, 60000, 0, 'late')
            raise SystemExit('a used lease was taken')
        except redis.ResponseError as error:
            assert str(error).startswith('NOLEASE'), error
        try:
            client.get('key')
            raise SystemExit('GET is no command of syncd')
        except redis.ResponseError as error:
            assert 'unknown command' in str(error), error
        assert one.execute_command('ABANDON', 'python:key', answer[1]) in (b'OK', True, 'OK')
        listener = client.pubsub()
        listener.subscribe('python')
        listener.psubscribe('pyth*')
        for _ in range(2): assert listener.get_message(timeout=5)['type'] in ('subscribe', 'psubscribe')
        seen = set()
        for attempt in range(100):
            client.publish('python', 'hello')
            while True:
                message = listener.get_message(timeout=0.1)
                if message is None: break
                assert message['data'] == b'hello' and message['channel'] == b'python', message
                seen.add(message['type'])
            if seen == {'message', 'pmessage'}: break
        assert seen == {'message', 'pmessage'}, seen
        listener.unsubscribe()
        pipe = client.pipeline(transaction=False)
        for number in range(100): pipe.echo(str(number))
        assert pipe.execute() == [str(number).encode() for number in range(100)]
        print('done', redis.__version__)
        """

    @Test(arguments: Home.allCases, [2, 3]) func `redis-py`(home: Home, version: Int) async throws {
        let (redis, syncd) = try await home.start()
        let script = try syncd.directory.write(Self.program, to: "client.py")
        let finished = try await ChildProcess.run(
            try Self.python(), [script, syncd.socketPath, "\(version)"], environment: ["PYTHONUTF8": "1"])
        #expect(finished.exit == .status(0), "\(finished.errors)\(syncd.transcript)")
        #expect(finished.output.hasPrefix("done "))
        withExtendedLifetime(redis) {}
    }
}
