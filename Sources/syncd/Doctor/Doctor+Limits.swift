import IPC
import IPCWire
import NIOCore
import SyncCore

/// Settings that limit clients, and what the server offers that syncd does not need.
extension Doctor {
    // MARK: Limits

    func checkLimits(_ commands: DoctorConnection) async throws(ConnectionLoss) {
        let fields = ReplyDecoding.bulk(try await commands.ask("INFO")).map(InfoFields.init)
        let configured = try await setting("maxclients", commands)
        add(
            Self.clients(
                connected: fields?.number("connected_clients"),
                limit: fields?.number("maxclients") ?? configured.flatMap { UInt64($0) }))
        var settings: [String: String] = [:]
        for name in ["timeout", "proto-max-bulk-len", "client-output-buffer-limit"] {
            settings[name] = try await setting(name, commands)
        }
        add(Self.limits(settings, budget: CommandBudget(configuration.limits)))
    }

    /// The value of a setting; `nil`: CONFIG GET is forbidden.
    func setting(_ name: String, _ commands: DoctorConnection) async throws(ConnectionLoss) -> String? {
        guard case .array(let parts) = try await commands.ask("CONFIG", "GET", name), parts.count == 2 else {
            return nil
        }
        return ReplyDecoding.bulk(parts[1]).map { InfoFields.shown(String(buffer: $0)) }
    }

    static func clients(connected: UInt64?, limit: UInt64?) -> Finding {
        guard let limit, limit > 0 else {
            return Finding(
                .clients, .note, connected.map { "\($0) connections; their limit is not shown" } ?? "not shown",
                follows: "each host needs two connections, and for moments four",
                remedy: "find out the limit in the service's documentation")
        }
        let clients = ServerInfo.Clients(connected: connected ?? 0, limit: limit)
        let figures = [
            StatusField("connected", connected.map { .number($0) } ?? .null), StatusField("limit", .number(limit)),
        ]
        let seen = "\(connected.map(String.init) ?? "an unknown number") of \(limit) possible connections"
        guard clients.isNearlyFull else { return Finding(.clients, .ok, seen, figures: figures) }
        return Finding(
            .clients, .warning, seen, follows: "further hosts, or this one after a reconnect, may be refused",
            remedy: "raise maxclients, or find out who holds the connections (CLIENT LIST)", figures: figures)
    }

    /// Minimum bytes of output that a subscriber may have waiting.
    private static let leastOutput: UInt64 = 1 << 20

    /// - Parameter settings: values of CONFIG GET by their names.
    static func limits(_ settings: [String: String], budget: CommandBudget) -> Finding {
        guard let timeout = settings["timeout"].flatMap({ UInt64($0) }) else {
            return Finding(.limits, .ok, "CONFIG is not permitted, and syncd does not need it: limits are not shown")
        }
        let figures = settings.sorted { $0.key < $1.key }.map { StatusField($0.key, .text($0.value)) }
        let output = pubsubLimit(settings["client-output-buffer-limit"] ?? "")
        var seen = timeout == 0 ? "idle connections stay open" : "idle connections are closed after \(timeout) s"
        if let output {
            seen += output == 0 ? ", no limit of output" : ", subscribers have \(InfoFindings.bytes(output)) of output"
        }
        if let bulk = settings["proto-max-bulk-len"].flatMap({ UInt64($0) }) {
            seen += ", a value has at most \(InfoFindings.bytes(bulk))"
        }
        let shortest = max(1, 2 * budget.idle.probe / 1_000_000_000)
        if timeout > 0, timeout < shortest {
            return Finding(
                .limits, .warning, seen, follows: "the connection of a host without work is closed again and again",
                remedy: "set timeout 0, or at least \(shortest)", figures: figures)
        }
        if let output, output > 0, output < leastOutput {
            return Finding(
                .limits, .warning, seen,
                follows: "a burst of invalidations cuts subscribers off: entries are then read from the stream",
                remedy: "raise client-output-buffer-limit pubsub", figures: figures)
        }
        return Finding(.limits, .ok, seen, figures: figures)
    }

    /// The hard limit of subscribers in `normal 0 0 0 slave … pubsub 33554432 8388608 60`.
    private static func pubsubLimit(_ text: String) -> UInt64? {
        let words = text.split(separator: " ")
        guard let index = words.firstIndex(of: "pubsub"), index + 1 < words.count else { return nil }
        return UInt64(words[index + 1])
    }

    // MARK: Offers

    /// Each over a separate connection, which a server may close on an unknown command.
    func checkOthers(_ connection: DoctorConnection) async {
        guard case .success = await connection.open() else {
            return add(
                Finding(
                    .tracking, .note, "not tested: \(connection.loss?.reason ?? "")", follows: "syncd does not need it")
            )
        }
        add(await tracking(connection))
        add(await speaksRESP3(connection))
    }

    private func tracking(_ connection: DoctorConnection) async -> Finding {
        let unneeded = "syncd does not need it: its log says what is invalid"
        do throws(ConnectionLoss) {
            guard case .integer(let id) = try await connection.ask("CLIENT", "ID") else {
                return Finding(.tracking, .ok, "CLIENT TRACKING is not permitted", follows: unneeded)
            }
            let reply = try await connection.ask("CLIENT", "TRACKING", "ON", "REDIRECT", "\(id)")
            let isOn = reply.errorText == nil
            if isOn { _ = try await connection.ask("CLIENT", "TRACKING", "OFF") }
            return Finding(.tracking, .ok, "CLIENT TRACKING is \(isOn ? "" : "not ")offered", follows: unneeded)
        } catch {
            return Finding(.tracking, .note, "the server closed the connection: \(error.reason)", follows: unneeded)
        }
    }

    /// hiredis reads RESP2 only, so that the reply to HELLO 3, a map, ends the connection.
    private func speaksRESP3(_ connection: DoctorConnection) async -> Finding {
        let unneeded = "syncd speaks RESP2"
        do throws(ConnectionLoss) {
            let reply = try await connection.ask("HELLO", "3")
            let isRefused = reply.errorText != nil
            return Finding(.protocol, .ok, isRefused ? "RESP2 only" : "RESP2 and RESP3", follows: unneeded)
        } catch {
            let isMap = error.reason.hasPrefix("malformed reply")
            return Finding(
                .protocol, .ok, isMap ? "RESP2 and RESP3" : "RESP2; HELLO 3 closes the connection", follows: unneeded)
        }
    }
}
