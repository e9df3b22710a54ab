import Glibc
import IPCWire
import NIOCore
import NIOSSL
import Notation

extension ConnectionLoss {
    /// The meaning of a TLS error: the check that failed, and the remedy. `nil`: it is no TLS error.
    ///
    /// - Parameters:
    ///   - certificate: what the server showed, for the explanation only: it has been judged already.
    ///   - faults: what is wrong with the authorities that are trusted, if anything is.
    init?(tls error: any Error, certificate: NIOSSLCertificate?, faults: String?, now: time_t = time(nil)) {
        switch error {
        case let error as CertificateMismatch: self.init("TLS: \(error)", isDenied: true)
        case let error as NIOSSLExtraError: self.init("TLS: \(error)", isDenied: true)
        case NIOSSLError.handshakeFailed(let problem):
            self.init(handshake: problem, Self.verdict(on: certificate, faults: faults, now: now))
        case NIOSSLError.uncleanShutdown: self.init("Redis closed the connection")
        case let error as BoringSSLError:
            self.init(handshake: error, Self.verdict(on: certificate, faults: faults, now: now))
        case let error as NIOSSLError: self.init("TLS: \(error)")
        default: return nil
        }
    }

    private init(handshake problem: BoringSSLError, _ verdict: @autoclosure () -> String) {
        let codes = Self.codes(problem)
        func has(_ code: String) -> Bool { codes.contains(code) }
        if has("CERTIFICATE_VERIFY_FAILED") {
            self.init("TLS: \(verdict())", isDenied: true)
        } else if has("WRONG_VERSION_NUMBER") || has("HTTP_REQUEST") || has("UNEXPECTED_MESSAGE") {
            self.init("TLS: the server does not speak TLS on this port: use its TLS port, or redis://", isDenied: true)
        } else if has("UNSUPPORTED_PROTOCOL") || has("PROTOCOL_VERSION") {
            self.init("TLS: the server speaks nothing newer than TLS 1.1: enable TLS 1.2 or 1.3", isDenied: true)
        } else if has("CERTIFICATE_REQUIRED") {
            self.init(
                "TLS: the server wants a client certificate: set REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE",
                isDenied: true)
        } else if has("ALERT_UNKNOWN_CA") || has("ALERT_BAD_CERTIFICATE") || has("ALERT_CERTIFICATE")
            || has("ALERT_UNSUPPORTED_CERTIFICATE")
        {
            self.init("TLS: the server refuses the certificate of REDIS_TLS_CERT_FILE (\(codes))", isDenied: true)
        } else if has("HANDSHAKE_FAILURE") {
            self.init(
                "TLS: the server refuses the handshake: it may want a client certificate (REDIS_TLS_CERT_FILE), or other ciphers",
                isDenied: true)
        } else if has("EOF during handshake") {
            self.init("TLS: the server closed the connection during the handshake: is this its TLS port?")
        } else {
            self.init("TLS: \(codes)")
        }
    }

    /// The reason why a certificate is not trusted.
    private static func verdict(on certificate: NIOSSLCertificate?, faults: String?, now: time_t) -> String {
        guard let certificate else { return "the server's certificate cannot be verified" }
        if certificate.notValidAfter < now {
            return "the server's certificate has expired (on \(certificate.notValidAfter.dayText)): renew it"
        }
        if certificate.notValidBefore > now {
            return
                "the server's certificate is not valid yet (from \(certificate.notValidBefore.dayText)): check the clocks"
        }
        let names = CertificateEntry.list(CertificateEntry.all(of: certificate))
        let problem = "no trusted authority vouches for the server's certificate (for \(names))"
        if let faults { return "\(problem): \(faults)" }
        return
            "\(problem): set REDIS_TLS_CA_FILE to the certificate of its authority, or to the certificate itself where it is self-signed"
    }

    /// The reasons from BoringSSL, without numbers and source files.
    private static func codes(_ problem: BoringSSLError) -> String {
        switch problem {
        case .sslError(let stack), .unknownError(let stack):
            stack.map { error in
                let words = error.description.split(separator: ":")
                // "Error: 268435581 error:1000007d:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED at file:1"
                return words.first { $0.contains(" at ") }.map { String($0.prefix { $0 != " " }) } ?? error.description
            }.joined(separator: ", ")
        case .syscallError, .zeroReturn: "EOF during handshake"
        default: "\(problem)"
        }
    }
}

extension NIOSSLCertificate {
    /// The common name, for people only: its owner may choose any text.
    var commonNameText: String? {
        let fields = description.dropLast().split(separator: ";")
        guard let field = fields.first(where: { $0.hasPrefix("common_name=") }) else { return nil }
        return ByteBuffer(substring: field.dropFirst("common_name=".count).prefix(64)).escaped
    }
}

extension time_t {
    /// The day, in UTC: `2026-01-31`.
    var dayText: String { UTCDate(secondsSince1970: self).dayText }
}
