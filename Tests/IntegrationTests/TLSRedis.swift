import TestSupport
import Testing

/// A redis-server with a TLS port.
struct TLSRedis: Sendable {
    let port: ReservedPort
    let server: RedisServer

    init(_ identity: Identity, _ options: [String] = []) async throws {
        port = try ReservedPort()
        var all = [
            "--tls-port", "\(port.number)", "--tls-cert-file", identity.certificate, "--tls-key-file", identity.key,
        ]
        if !options.contains("--tls-auth-clients") {
            all += ["--tls-auth-clients", "no", "--tls-ca-cert-file", identity.certificate]
        }
        server = try await RedisServer(all + options)
    }

    func url(_ host: String) -> String { "rediss://\(host):\(port.number)" }

    /// Starts a syncd that uses this server.
    func attach(_ host: String, _ environment: [String: String] = [:]) async throws -> SyncdProcess {
        try await SyncdProcess(
            environment: environment.merging(["REDIS_ENABLED": "true", "REDIS_URL": url(host)]) { $1 })
    }
}

extension SyncdProcess {
    /// syncd doesn't attach, reports the reason in log and STATUS, and lives.
    func expectRefusal(_ reason: String) async throws {
        await eventually("log and STATUS say \(reason)", details: { self.transcript }) {
            let shown = try? await status("redis", "last-error")?.string
            let why = try? await status("log", "why")?.string
            return log.contains(reason) && shown?.contains(reason) == true && why?.contains(reason) == true
        }
        #expect(try await isAttached == false)
    }
}
