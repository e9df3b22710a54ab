import Glibc
import IPC
import IPCWire
import NIOCore
import SyncCore

/// Checks of what INFO, ROLE and CLUSTER show.
extension Doctor {
    func checkServer(_ commands: DoctorConnection) async throws(ConnectionLoss) {
        let reply = try await commands.ask("INFO")
        let fields = ReplyDecoding.bulk(reply).map(InfoFields.init)
        if let fields {
            for finding in InfoFindings.all(fields) { add(finding) }
        } else {
            add(
                Finding(
                    .identity, .warning, "INFO is forbidden: \(reply.errorShown ?? "it has no text")",
                    follows:
                        "the process behind the address is unknown: every reconnect costs a cold cache on every host, and settings are not checked",
                    remedy: "permit +info to syncd's user"))
        }
        let role = try await commands.ask("ROLE")
        add(Self.role(info: fields.map(ServerInfo.init), role))
        if configuration.endpoint.database != 0 {
            add(Finding(.database, .ok, "database \(configuration.endpoint.database) was selected"))
        }
        if fields?["cluster_enabled"] == "1" { try await checkCluster(commands) }
    }

    static func role(info: ServerInfo?, _ reply: RESPValue) -> Finding {
        let refusal = reply.errorShown
        let isReplica = ReplyDecoding.isReplica(reply)
        guard isReplica || info?.isPrimary == false else {
            guard let refusal else { return Finding(.role, .ok, "primary") }
            return Finding(
                .role, .warning, "ROLE is forbidden: \(refusal)",
                follows: "a demoted primary is noticed at the next write that it refuses, not within a second",
                remedy: "permit +role to syncd's user")
        }
        let isClear = refusal != nil || info == nil || isReplica == (info?.isPrimary == false)
        return Finding(
            .role, .failure,
            isClear ? "the server is a replica" : "INFO and ROLE contradict each other: one of them says replica",
            follows: "a replica is never used: hosts are isolated",
            remedy: "give the address of the primary, or of the sentinels (redis+sentinel://)")
    }

    // MARK: Cluster

    /// Whether the server has the log's slot. Nothing else can be tested on another node of a cluster.
    func holdsLog(_ commands: DoctorConnection) async throws(ConnectionLoss) -> Bool {
        let reply = try await commands.ask([.word("GET"), scratch.position])
        guard !isCluster, let text = reply.errorText, String(buffer: text).hasPrefix("MOVED") else { return true }
        add(
            Finding(
                .log, .failure, UpstreamFailure(redisError: text).message,
                follows: "hosts are isolated; the other checks were not made, because they are about that node",
                remedy: "use redis+cluster://, which finds that node wherever the log moves"))
        return false
    }

    private static let slots: UInt64 = 16_384

    private func checkCluster(_ commands: DoctorConnection) async throws(ConnectionLoss) {
        let advice =
            "use redis+cluster:// and name several nodes, so that syncd finds the node that holds the log wherever it moves"
        let reply = try await commands.ask("CLUSTER", "INFO")
        guard let fields = ReplyDecoding.bulk(reply).map(InfoFields.init) else {
            return add(
                Finding(
                    .cluster, isCluster ? .note : .warning,
                    "a node of a cluster, whose state is not shown (\(reply.errorShown ?? "no text"))",
                    follows: isCluster
                        ? "missing slots are unknown"
                        : "missing slots are unknown, and syncd does not follow a moved log from this URL",
                    remedy: isCluster
                        ? "permit +cluster|info for this check" : "\(advice); permit +cluster|info for this check"))
        }
        let state = fields.shown("cluster_state") ?? "unknown"
        let covered = fields.number("cluster_slots_ok") ?? 0
        let isWhole = state == "ok" && covered == Self.slots
        let shown = "a node of a cluster: state \(state), \(covered) of \(Self.slots) slots are served"
        let figures = [StatusField("state", .text(state)), StatusField("slots", .number(covered))]
        if !isWhole {
            add(
                Finding(
                    .cluster, .failure, shown,
                    follows: state == "ok"
                        ? "keys of the missing slots cannot be used; if the log is among them, hosts are isolated"
                        : "commands are answered CLUSTERDOWN: hosts are isolated",
                    remedy: "assign the missing slots (redis-cli --cluster fix), and \(advice)", figures: figures))
        } else if case .tcp = configuration.endpoint.address {
            add(
                Finding(
                    .cluster, .warning, shown,
                    follows: "if the log moves to another node, by a failover or a changed slot, this host is isolated",
                    remedy: advice, figures: figures))
        } else if try await setting("cluster-allow-reads-when-down", commands) == "yes" {
            add(
                Finding(
                    .cluster, .warning, "\(shown); cluster-allow-reads-when-down is yes",
                    follows:
                        "a primary that the others have replaced goes on answering probes: a host that reaches no other node trusts values that are invalid",
                    remedy: "set cluster-allow-reads-when-down no", figures: figures))
        } else {
            add(Finding(.cluster, .ok, shown, figures: figures))
        }
    }

    // MARK: TLS

    func tls(_ session: TLSSession?, target: String, now: time_t = time(nil)) -> Finding {
        guard let session else {
            let isLocal: Bool
            switch configuration.endpoint.address {
            case .tcp(let host, _): isLocal = ["localhost", "::1"].contains(host) || host.hasPrefix("127.")
            case .unix: isLocal = true
            default: isLocal = ["127.", "localhost:", "[::1]:"].contains { target.hasPrefix($0) }
            }
            if isLocal { return Finding(.tls, .ok, "not in use: the server is on this host") }
            return Finding(
                .tls, .note, "not in use", follows: "password, keys, tags and values cross the network unencrypted",
                remedy: "use rediss:// unless the network is private")
        }
        let days = (session.validUntil - now) / 86_400
        let version = session.version.map { "TLS \($0)" } ?? "TLS"
        let cipher = session.cipher.map { ", \($0)" } ?? ""
        let names = CertificateEntry.list(session.names)
        let isEnding = days < Self.leastDays
        return Finding(
            .tls, isEnding ? .warning : .ok,
            "\(version)\(cipher); the certificate is for \(names), valid until \(session.validUntil.dayText) (\(days) days)",
            follows: isEnding ? "when it expires, no new connection can be made: hosts are isolated" : nil,
            remedy: isEnding ? "renew the server's certificate" : nil,
            figures: [StatusField("certificate-days", .number(UInt64(clamping: days)))])
    }

    /// Certificates that are renewed automatically are renewed earlier than this.
    private static let leastDays = 14
}
