import IPCTesting
import IPCWire
import NIOCore
import Synchronization

/// The database of a client under test: numbers under keys, read by GET and written by INCR, as in Redis.
package final class ScriptedDatabase: ScriptedServer {
    package enum Verb: Sendable, Hashable {
        case load
        case write
    }

    enum Answer: Sendable {
        case error(String)
        /// No answer until ``release()``.
        case hold
    }

    /// Called when a command arrives, before it is carried out; `nil`: the usual answer.
    typealias Script = @Sendable (Verb, String) -> Answer?

    private struct State {
        var values: [String: Int] = [:]
        var loads: [String: Int] = [:]
        var writes: [String: Int] = [:]
        var held: [(Verb, String, ScriptedConnection)] = []
        var script: Script?
    }

    private let state = Mutex(State())

    func script(_ script: Script?) { state.withLock { $0.script = script } }

    /// Writes a value as another program would.
    func set(_ key: String, _ value: Int) { state.withLock { $0.values[key] = value } }

    func value(_ key: String) -> Int? { state.withLock { $0.values[key] } }
    func loads(_ key: String) -> Int { state.withLock { $0.loads[key] ?? 0 } }
    func writes(_ key: String) -> Int { state.withLock { $0.writes[key] ?? 0 } }

    /// Carries out held commands.
    func release() {
        let held = state.withLock { state in
            defer { state.held = [] }
            return state.held
        }
        for (verb, key, connection) in held { connection.send(carryOut(verb, key)) }
    }

    // MARK: ScriptedServer

    package func opened(_ connection: ScriptedConnection) {}
    package func closed(_ connection: ScriptedConnection) {}

    package func received(_ command: [ByteBuffer], on connection: ScriptedConnection) {
        let words = command.map { String(buffer: $0) }
        switch (words[0].uppercased(), words.count) {
        case ("GET", 2): answer(.load, words[1], connection)
        case ("INCR", 2): answer(.write, words[1], connection)
        // The command in redis-py's form.
        case ("INCRBY", 3) where words[2] == "1": answer(.write, words[1], connection)
        default:
            guard let request = try? Request.parse(command, limits: WireLimits()),
                let reply = answerToHandshake(request, greeting: .scripted(proto: connection.version))
            else {
                return connection.send(.error(ReplyError(.generic, "unknown command: this database has GET and INCR")))
            }
            if case .hello(let version?, _) = request {
                connection.version = version
                return connection.send(.greeting(.scripted(proto: version)))
            }
            connection.send(reply)
        }
    }

    private func answer(_ verb: Verb, _ key: String, _ connection: ScriptedConnection) {
        let script = state.withLock { state in
            if verb == .load { state.loads[key, default: 0] += 1 } else { state.writes[key, default: 0] += 1 }
            return state.script
        }
        switch script?(verb, key) {
        case nil: connection.send(carryOut(verb, key))
        case .error(let text): connection.send(.error(ReplyError(.generic, text)))
        case .hold: state.withLock { $0.held.append((verb, key, connection)) }
        }
    }

    private func carryOut(_ verb: Verb, _ key: String) -> Reply {
        state.withLock { state in
            switch verb {
            case .load: return state.values[key].map { .bulk(ByteBuffer(string: String($0))) } ?? .null
            case .write:
                let value = (state.values[key] ?? 0) + 1
                state.values[key] = value
                return .integer(UInt64(value))
            }
        }
    }
}
