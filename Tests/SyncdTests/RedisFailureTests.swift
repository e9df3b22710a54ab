import NIOCore
import SyncCore
import Testing

@testable import syncd

/// Every error reply that is known to occur has its own meaning for the log.
@Suite struct RedisFailureTests {
    enum Meaning {
        case refused, wrongRole, damaged, denied
    }

    @Test(arguments: [
        ("LOADING Redis is loading the dataset in memory", Meaning.refused),
        ("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", .refused),
        ("OOM command not allowed when used memory > 'maxmemory'.", .refused),
        ("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.", .refused),
        ("NOREPLICAS Not enough good replicas to write.", .refused),
        ("CLUSTERDOWN The cluster is down", .refused),
        ("TRYAGAIN Multiple keys request during rehashing of slot", .refused),
        ("EXECABORT Transaction discarded because of previous errors.", .refused),
        ("ERR max number of clients reached", .refused),
        ("ERR something new", .refused),
        ("", .refused),
        ("READONLY You can't write against a read only replica.", .wrongRole),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", .wrongRole),
        ("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)", .wrongRole),
        ("MOVED 3999 127.0.0.1:6381", .wrongRole),
        ("ASK 3999 127.0.0.1:6381", .refused),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", .damaged),
        ("DAMAGED stream is a string", .damaged),
        ("NOAUTH Authentication required.", .denied),
        ("WRONGPASS invalid username-password pair or user is disabled.", .denied),
        ("ERR The user executing the script can't run this command or subcommand", .denied),
        ("ERR ACL failure in script: User u has no permissions to run the 'xadd' command", .denied),
        ("NOPERM this user has no permissions to run the 'evalsha' command", .denied),
        // Inside a script, as Redis 6 words it.
        ("ERR Error running script (call to f_ab): @user_script:1: WRONGTYPE Operation against a key", .damaged),
        ("ERR Error running script (call to f_ab): @user_script:9: READONLY You can't write", .wrongRole),
        ("ERR Error running script (call to f_ab): @user_script:9: -OOM command not allowed", .refused),
    ])
    func `error replies`(reply: String, meaning: Meaning) {
        let found: Meaning =
            switch UpstreamFailure(redisError: ByteBuffer(string: reply)) {
            case .refused: .refused
            case .wrongRole: .wrongRole
            case .damaged: .damaged
            case .denied: .denied
            }
        #expect(found == meaning)
    }

    @Test func `of an error without an end some words are kept`() {
        let text = ByteBuffer(string: "LOADED " + String(repeating: "x", count: 1 << 20))
        #expect(UpstreamFailure(redisError: text).message.utf8.count == 512)
    }

    @Test(arguments: ["", "abc", String(repeating: "g", count: 40), String(repeating: "a", count: 1 << 20)])
    func `a name of a script that is no SHA-1 is not kept, and scripts are sent whole`(name: String) {
        var names = ScriptNames()
        names.learnt(.append, .bulkString(ByteBuffer(string: String(repeating: "0f", count: 20))))
        #expect(names.name(of: .append)?.readableBytes == 40)
        names.learnt(.inspect, .bulkString(ByteBuffer(string: name)))
        #expect(names.name(of: .inspect) == nil && names.name(of: .append) == nil)
        let isAskedAgain = names.shouldLearn(.inspect)
        #expect(!isAskedAgain)
    }

    @Test func `a connection that fails says why in the words of the system`() {
        // What SwiftNIO throws where nobody listens.
        let refused = IOError(errnoCode: 111, reason: "connection reset (error set): Connection refused)")
        let loss = ConnectionLoss(connecting: refused, to: "redis://localhost:1")
        #expect(loss.reason == "cannot connect to redis://localhost:1: Connection refused")
        let reset = IOError(errnoCode: 104, reason: "read(descriptor:pointer:size:)")
        #expect(ConnectionLoss(broken: reset).reason == "the connection broke: Connection reset by peer")
    }

    @Test func `data in a reply does not choose the meaning`() {
        // Only the first word is a code; a key or a tag may hold any word.
        let text = ByteBuffer(string: "ERR unknown command 'x', with args beginning with: 'NOAUTH' ")
        guard case .refused = UpstreamFailure(redisError: text) else {
            Issue.record("a word of the message was taken for a code")
            return
        }
    }
}
