import IPCWire
import NIOCore
import NIOSSL

/// The DNS name or the IP address that a server's certificate has to be for.
///
/// The rules are those of RFC 9525. A name needs a dNSName among the certificate's subject alternative names, and an
/// address an iPAddress; neither replaces the other. The common name does not count: RFC 9525 removed it, because
/// nothing says whether its text is a name of a host. An entry `*.example.com` is for one whole label in place of the
/// star, and needs two labels after it, as in OpenSSL.
///
/// NIOSSL's own check is not used. It accepts a certificate for the address that was reached, whatever name was
/// requested. An attacker who can answer for a name and has a certificate for an address would pass.
enum CertifiedHost: Sendable, Equatable {
    /// A name with ASCII letters in lower case, without a dot at the end.
    case name([UInt8])
    /// An address of four or 16 bytes.
    case address([UInt8])

    /// - Parameter host: a host as in a URL, without brackets. The zone of an IPv6 address (`%eth0`) is not compared.
    init(host: String) {
        let literal = host.contains(":") ? String(host.prefix { $0 != "%" }) : host
        if let address = try? SocketAddress(ipAddress: literal, port: 0) {
            self = .address(address.bytes)
        } else {
            let name = host.utf8.last == Self.dot ? host.utf8.dropLast() : host.utf8[...]
            self = .name(Self.lowercased(name))
        }
    }

    /// The name to send as SNI, which must not be an address (RFC 6066).
    var indicatedName: String? {
        if case .name(let name) = self { String(decoding: name, as: UTF8.self) } else { nil }
    }

    /// Whether an entry of a certificate matches.
    func isMatched(by entry: CertificateEntry) -> Bool {
        switch (self, entry) {
        case (.address(let address), .address(let bytes)): address == bytes
        case (.name(let name), .name(let pattern)): Self.matches(name, Self.lowercased(pattern))
        default: false
        }
    }

    private static func matches(_ name: [UInt8], _ pattern: [UInt8]) -> Bool {
        guard pattern.contains(star) else { return !name.isEmpty && pattern == name }
        let rest = pattern.dropFirst()
        guard pattern.first == star, rest.first == dot, !rest.contains(star), rest.filter({ $0 == dot }).count >= 2,
            let end = name.firstIndex(of: dot), end > 0
        else { return false }
        return name[end...] == rest
    }

    private static func lowercased(_ text: some Sequence<UInt8>) -> [UInt8] {
        text.map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 | 0x20 : $0 }
    }

    private static let dot = UInt8(ascii: "."), star = UInt8(ascii: "*")

    /// The entry for this host in a certificate: `DNS:redis.example` or `IP:10.0.0.1`.
    var entry: CertificateEntry {
        switch self {
        case .name(let name): .name(name)
        case .address(let bytes): .address(bytes)
        }
    }

    /// Checks the certificate of a server that has proved to own it. Its chain and its dates have been verified before.
    func verify(_ certificate: NIOSSLCertificate) throws(CertificateMismatch) {
        let entries = CertificateEntry.all(of: certificate)
        guard !entries.contains(where: isMatched) else { return }
        throw CertificateMismatch(host: self, entries: entries)
    }
}

/// The certificate is valid, but for another host.
struct CertificateMismatch: Error, Equatable, CustomStringConvertible {
    var host: CertifiedHost
    var entries: [CertificateEntry]

    var description: String {
        let wanted =
            switch host {
            case .name: "the name \(host.entry.text)"
            case .address: "the address \(host.entry.text)"
            }
        let problem = "the server's certificate is not for \(wanted) but for \(CertificateEntry.list(entries))"
        guard !entries.isEmpty else {
            return problem
                + ": issue one with \(host.entry) among its subject alternative names; the common name does not count"
        }
        return problem
            + ": if it is the right server, use one of these as its host or as REDIS_TLS_SERVER_NAME, or issue a certificate with \(host.entry)"
    }
}

/// One of the subject alternative names of a certificate.
enum CertificateEntry: Equatable, CustomStringConvertible {
    case name([UInt8])
    case address([UInt8])
    /// URIs, mail addresses and others, which name no host.
    case other

    static func all(of certificate: NIOSSLCertificate) -> [CertificateEntry] {
        certificate._subjectAlternativeNames().map { entry in
            switch entry.nameType {
            case .dnsName: .name(Array(entry.contents))
            case .ipAddress: .address(Array(entry.contents))
            default: .other
            }
        }
    }

    /// A text for people; a certificate can have any number of entries.
    static func list(_ entries: [CertificateEntry]) -> String {
        if entries.isEmpty { return "no name at all" }
        let shown = entries.prefix(maximumShown).map(\.description).joined(separator: ", ")
        return entries.count > maximumShown ? "\(shown) and \(entries.count - maximumShown) more" : shown
    }

    private static let maximumShown = 5

    var text: String {
        switch self {
        case .name(let bytes): ByteBuffer(bytes: bytes.prefix(255)).escaped
        case .address(let bytes):
            (try? SocketAddress(packedIPAddress: ByteBuffer(bytes: bytes), port: 0))?.ipAddress ?? "?"
        case .other: "?"
        }
    }

    var description: String {
        switch self {
        case .name: "DNS:\(text)"
        case .address: "IP:\(text)"
        case .other: "something that is no host"
        }
    }
}

extension SocketAddress {
    /// The bytes of an IP address, the most significant one first.
    fileprivate var bytes: [UInt8] {
        switch self {
        case .v4(let address): withUnsafeBytes(of: address.address.sin_addr) { Array($0) }
        case .v6(let address): withUnsafeBytes(of: address.address.sin6_addr) { Array($0) }
        case .unixDomainSocket: []
        }
    }
}
