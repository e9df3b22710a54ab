import Glibc
import NIOSSL

/// The certificates that syncd trusts, as they are in a file.
///
/// BoringSSL looks up an authority by its name and takes the first match. If that one has expired, a renewed one later
/// in the file is never tried. Therefore only valid authorities are passed to it. This refuses nothing that would
/// otherwise be accepted: a chain that ends at an expired authority is refused anyway.
struct TrustedAuthorities {
    private let all: [NIOSSLCertificate]

    init(_ all: [NIOSSLCertificate]) { self.all = all }

    /// The authorities that are valid at a given time.
    func valid(at now: time_t) -> [NIOSSLCertificate] {
        all.filter { $0.notValidBefore <= now && now <= $0.notValidAfter }
    }

    /// A possible reason why the file did not help: `the authority CN=ca expired on 2026-01-31`. `nil`: all in it are
    /// valid, or have a valid certificate beside them.
    func faults(at now: time_t) -> String? {
        let renewed = Set(valid(at: now).compactMap(\.publicKey))
        let faults = all.compactMap { authority -> String? in
            if let key = authority.publicKey, renewed.contains(key) { return nil }
            let name =
                authority.commonNameText.map { "the authority CN=\($0)" } ?? "an authority without a common name"
            if authority.notValidAfter < now {
                return "\(name) expired on \(authority.notValidAfter.dayText): replace it by its renewed certificate"
            }
            if authority.notValidBefore > now {
                return "\(name) is not valid before \(authority.notValidBefore.dayText): check the clocks"
            }
            return nil
        }
        guard !faults.isEmpty else { return nil }
        let shown = faults.prefix(Self.maximumShown).joined(separator: "; ")
        return faults.count > Self.maximumShown ? "\(shown); and \(faults.count - Self.maximumShown) more" : shown
    }

    private static let maximumShown = 3
}

extension NIOSSLCertificate {
    fileprivate var publicKey: [UInt8]? { try? extractPublicKey().toSPKIBytes() }
}
