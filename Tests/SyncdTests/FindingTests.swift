import IPC
import IPCWire
import NIOCore
import SyncCore
import Testing

@testable import syncd

/// The judgement of `syncd doctor`, and its two forms.
@Suite struct FindingTests {
    private func finding(_ check: Finding.Check, _ info: String) -> Finding? {
        InfoFindings.all(InfoFields(info)).first { $0.check == check }
    }

    // MARK: INFO

    @Test(arguments: [
        ("redis_version:7.0.15\nredis_mode:standalone", "redis 7.0.15, standalone", 0),
        ("server_name:valkey\nredis_version:7.2.4\nvalkey_version:8.0.1", "valkey 8.0.1", 0),
        ("redis_version:7.4.0\ndragonfly_version:df-v1.21", "dragonfly df-v1.21, which says that it is redis 7.4.0", 0),
        ("redis_version:6.0.16\ngcc_version:10.2.1", "redis 6.0.16", 3), ("run_id:a", "INFO shows no version", 1),
    ])
    func `a product is told by what it shows`(info: String, text: String, verdict: Int) {
        let server = finding(.server, info)
        #expect(server?.seen == text && server?.verdict.rawValue == verdict)
    }

    @Test(arguments: [
        ("maxmemory:100\nmaxmemory_policy:volatile-ttl", Finding.Verdict.ok),
        ("maxmemory:0\nmaxmemory_policy:allkeys-lru", .ok), ("maxmemory:100\nmaxmemory_policy:allkeys-lru", .warning),
        ("maxmemory:100\nmaxmemory_policy:noeviction", .warning), ("maxmemory_policy:eviction", .warning),
        ("maxmemory:100", .note), ("", .note),
    ])
    func `an eviction policy`(info: String, verdict: Finding.Verdict) {
        #expect(finding(.eviction, info)?.verdict == verdict)
    }

    @Test(arguments: [
        (89, "noeviction", Finding.Verdict.ok), (90, "noeviction", .warning), (100, "volatile-lru", .ok),
        (100, "allkeys-lru", .ok),
    ])
    func `memory is nearly full`(used: Int, policy: String, verdict: Finding.Verdict) {
        let info = "used_memory:\(used)\nmaxmemory:100\nmaxmemory_policy:\(policy)"
        #expect(finding(.memory, info)?.verdict == verdict)
    }

    @Test(arguments: [
        (Finding.Check.replication, "connected_slaves:1\nmin_slaves_good_slaves:0", Finding.Verdict.warning),
        (.replication, "connected_slaves:1\nmin_slaves_good_slaves:1", .ok), (.replication, "connected_slaves:0", .ok),
        (.replication, "", .note), (.persistence, "aof_enabled:0\nrdb_last_bgsave_status:err", .warning),
        (.persistence, "aof_enabled:1\naof_last_write_status:err", .warning), (.persistence, "aof_enabled:1", .ok),
        (.persistence, "", .note), (.identity, "run_id:aa\nmaster_replid:bb", .ok), (.identity, "run_id:aa", .warning),
    ])
    func `copies and identity`(check: Finding.Check, info: String, verdict: Finding.Verdict) {
        #expect(finding(check, info)?.verdict == verdict)
    }

    // MARK: Roles, reads, times, limits

    private static let primary = RESPValue.array([.bulkString(ByteBuffer(string: "master"))])
    private static let replica = RESPValue.array([.bulkString(ByteBuffer(string: "slave"))])
    private static let refusal = RESPValue.error(ByteBuffer(string: "ERR unknown command"))

    @Test(arguments: [
        ("role:master", primary, Finding.Verdict.ok), ("role:slave", replica, .failure),
        ("role:master", replica, .failure), ("role:slave", refusal, .failure),
        ("role:slave", primary, .failure), ("", primary, .ok), ("", replica, .failure),
        ("role:master", refusal, .warning),
    ])
    func `a role`(info: String, reply: RESPValue, verdict: Finding.Verdict) async {
        let finding = await Doctor.role(info: ServerInfo(info), reply)
        #expect(finding.verdict == verdict)
        let isClear = finding.verdict == .ok || reply == Self.refusal || info == "role:slave" && reply == Self.replica
        #expect(finding.seen.contains("contradict") == !isClear)
    }

    @Test(arguments: [([0, 0], Finding.Verdict.ok), ([1, 0], .failure), ([0, 1], .failure), ([100, 100], .failure)])
    func `one miss is enough`(misses: [Int], verdict: Finding.Verdict) async {
        #expect(await Doctor.readYourWrites(rounds: 100, misses: misses).verdict == verdict)
    }

    @Test(arguments: [
        (200, 90_000, Finding.Verdict.ok), (200, 100_000, .warning), (240_000, 300_000, .warning),
        (250_000, 260_000, .failure),
    ])
    func `a round trip is compared with the time of an invalidation`(
        p50: UInt64, p99: UInt64, verdict: Finding.Verdict
    ) async {
        let finding = await Doctor.roundTrip(p50: p50, p99: p99, limits: Limits())
        #expect(p50 >= 950 || finding.seen.hasPrefix("p50 \(p50) µs"), "\(finding.seen)")
        #expect(finding.verdict == verdict && (finding.remedy == nil) == (verdict == .ok))
    }

    @Test(
        arguments: [
            (nil, nil, Finding.Verdict.note), (5, 0, .note), (nil, 100, .ok), (89, 100, .ok), (90, 100, .warning),
        ] as [(UInt64?, UInt64?, Finding.Verdict)])
    func `connections and their limit`(connected: UInt64?, limit: UInt64?, verdict: Finding.Verdict) async {
        #expect(await Doctor.clients(connected: connected, limit: limit).verdict == verdict)
    }

    @Test func `a timeout is compared with the pause between two probes`() async {
        let always = CommandBudget.Intervals(probe: 250_000_000, ping: 500_000_000)
        let rare = CommandBudget.Intervals(probe: 40_000_000_000, ping: 40_000_000_000)
        for (timeout, idle, verdict) in [
            ("0", rare, Finding.Verdict.ok), ("60", rare, .warning), ("300", rare, .ok), ("60", always, .ok),
        ] {
            let budget = CommandBudget(busy: always, idle: idle)
            #expect(await Doctor.limits(["timeout": timeout], budget: budget).verdict == verdict, "\(timeout)")
        }
        let daemon = CommandBudget(Limits())
        let limit = "normal 0 0 0 slave 268435456 67108864 60 pubsub 1000 0 0"
        let narrow = await Doctor.limits(["timeout": "0", "client-output-buffer-limit": limit], budget: daemon)
        #expect(narrow.verdict == .warning && narrow.seen.contains("1000 B"))
        #expect(await Doctor.limits([:], budget: daemon).verdict == .ok)
    }

    @Test func `commands of a month`() {
        let intervals = CommandBudget.Intervals(probe: 250_000_000, ping: 500_000_000)
        #expect(intervals.commandsPerMonth == 18_408_600, "four MGET, a ROLE and two PING a second")
        #expect(CommandBudget.Intervals(probe: 0, ping: 0).commandsPerMonth > 0)
        var limits = Limits()
        #expect(CommandBudget(limits).idle.commandsPerMonth < 100_000)
        #expect((14_000_000...15_500_000).contains(CommandBudget(limits).busy.commandsPerMonth), "measured: redis.md")
        limits.idleNanoseconds = 0
        #expect(CommandBudget(limits).idle == CommandBudget(limits).busy)
    }

    @Test(arguments: [
        ("NOPERM this user has no permissions to access one of the channels used as arguments", true),
        ("NOPERM this user has no permissions to run the 'publish' command", false),
        ("NOPERM No permissions to access a channel", true),
        ("ERR The user executing the script can't publish to the channel mentioned in the command script: 1", true),
        ("ERR The user executing the script can't run this command or subcommand script: 1", false),
        ("ERR ACL failure in script: No permissions to access a channel script: 1", true),
        ("OOM command not allowed when used memory > 'maxmemory'.", false),
    ])
    func `a channel is refused, or a command`(text: String, isChannel: Bool) async {
        #expect(await Doctor.isChannelRefusal(ByteBuffer(string: text)) == isChannel)
    }

    @Test func `the cipher is read from a ServerHello, however it arrives`() {
        let random = [UInt8](repeating: 7, count: 32)
        let hello: [UInt8] = [22, 3, 3, 0, 80, 2, 0, 0, 76, 3, 3] + random + [2, 9, 9, 0x13, 0x02, 0]
        #expect(CipherWitness.cipher(ByteBuffer(bytes: hello)) == "TLS_AES_256_GCM_SHA384")
        for count in 0..<hello.count - 1 {
            #expect(CipherWitness.cipher(ByteBuffer(bytes: hello.prefix(count))) == nil)
        }
        #expect(CipherWitness.cipher(ByteBuffer(bytes: [22, 3, 3, 0, 2, 1] + hello.dropFirst(6))) == nil)
        let unknown = hello.dropLast(3) + [0xfa, 0xfa]
        #expect(CipherWitness.cipher(ByteBuffer(bytes: unknown)) == "0xfafa")
    }

    // MARK: Reports

    private func report(_ verdicts: Finding.Verdict..., isReached: Bool = true) -> DoctorReport {
        var report = DoctorReport(endpoint: "redis://x:1", namespace: "syncd", isReached: isReached)
        report.findings = zip(Finding.Check.allCases.reversed(), verdicts).map {
            Finding($0, $1, "seen \"it\"", follows: "then", remedy: "do", figures: [StatusField("n", .number(1))])
        }
        return report
    }

    @Test func `the worst finding decides`() {
        #expect(report().exitStatus == 0 && report(.ok, .note).exitStatus == 0)
        #expect(report(.warning, .note).exitStatus == 1 && report(.warning, .failure, .ok).exitStatus == 2)
        #expect(report(.failure, isReached: false).exitStatus == 69)
    }

    @Test func `both forms have every finding, in the order of the checks`() {
        let report = report(.ok, .warning, .failure)
        let order = report.sorted.map(\.check)
        #expect(order == Array(Finding.Check.allCases.suffix(3)))
        let table = DoctorTable.render(report).split(separator: "\n")
        #expect(table.count { $0.contains("seen") } == 3 && table.count { $0.contains("so: then") } == 3)
        #expect(table.last == "1 failure, 1 warning: syncd cannot use this server as it is.")
        let json = StatusJSON.render(report.fields)
        for text in [
            "\"exit-status\": 2", "\"seen\": \"seen \\\"it\\\"\"", "\"check\": \"\(order[0].rawValue)\"", "\"n\": 1",
        ] {
            #expect(json.contains(text), "\(json)")
        }
    }

    @Test func `long texts are broken between words, and long words are kept`() {
        var report = report(.note)
        let word = String(repeating: "x", count: 120)
        report.findings[0].seen = String(repeating: "seven letters ", count: 30) + word
        let lines = DoctorTable.render(report).split(separator: "\n")
        #expect(lines.allSatisfy { $0.count <= 98 || $0.hasSuffix(word) } && lines.contains { $0.hasSuffix(word) })
    }
}
