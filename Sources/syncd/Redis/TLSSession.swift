import Glibc
import NIOSSL

/// Facts about an open TLS connection, for people.
struct TLSSession {
    /// `1.2` or `1.3`; `nil`: unknown.
    var version: String?
    /// The name of the cipher; `nil`: unknown.
    var cipher: String?
    /// The subject alternative names of the server's certificate.
    var names: [CertificateEntry]
    /// The end of the certificate, in seconds since 1970.
    var validUntil: time_t

    init?(_ handler: NIOSSLClientHandler, _ witness: CipherWitness?) {
        guard let certificate = handler.peerCertificate else { return nil }
        version =
            switch handler.tlsVersion {
            case .tlsv12: "1.2"
            case .tlsv13: "1.3"
            default: nil
            }
        cipher = witness?.cipher
        names = CertificateEntry.all(of: certificate)
        validUntil = certificate.notValidAfter
    }
}
