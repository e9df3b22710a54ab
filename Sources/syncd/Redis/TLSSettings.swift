import Glibc
import NIOSSL
import ProcessSupport

/// Verification of the server's identity over TLS, and syncd's own identity.
///
/// The certificate of the server is always verified: its chain up to the system's store or to `caFile`, its dates, and
/// that it is for the name (or the address) of the URL, or for `serverName` (``CertifiedHost``). No setting turns this
/// off: a private or self-signed certificate goes into `caFile`.
struct TLSSettings: Sendable, Equatable {
    /// Certificates (PEM) that are trusted instead of the system's store.
    var caFile: String?
    /// syncd's client certificate (PEM, with the intermediate ones after it), for servers that require one.
    var certificateFile: String?
    /// The private key (PEM) of `certificateFile`.
    var keyFile: String?
    /// The name of the server's certificate, if it is not the URL's host; also sent as SNI.
    var serverName: String?

    /// The system's store of Debian's ca-certificates; the directory also has certificates from other sources.
    private static let systemFile = "/etc/ssl/certs/ca-certificates.crt"
    private static let systemDirectory = "/etc/ssl/certs"

    private var files: [String] { [caFile ?? Self.systemFile, certificateFile, keyFile].compactMap { $0 } }

    /// Reads `caFile`, or the system's store. `nil`: the system has no such file.
    func readAuthorities() throws(ConfigurationError) -> TrustedAuthorities? {
        if let caFile { return TrustedAuthorities(try Self.certificates(ConfigurationKey.redisTLSAuthorities, caFile)) }
        return (try? NIOSSLCertificate.fromPEMFile(Self.systemFile)).map(TrustedAuthorities.init)
    }

    /// Reads the other files.
    ///
    /// - Parameter trusted: the authorities that are valid now; `nil`: NIOSSL's default.
    func makeContext(trusting trusted: [NIOSSLCertificate]?) throws(ConfigurationError) -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        // The name is verified by `handler`, because NIOSSL accepts more than the requested one.
        configuration.certificateVerification = .noHostnameVerification
        // A server that is gone sends no close notification; the connection counts as closed before this anyway.
        configuration.shutdownTimeout = .milliseconds(500)
        if let trusted {
            if caFile == nil {
                // The directory is searched for authorities that are missing in the file.
                configuration.trustRoots = .file(Self.systemDirectory)
                configuration.additionalTrustRoots = [.certificates(trusted)]
            } else {
                configuration.trustRoots = .certificates(trusted)
            }
        }
        if let certificateFile, let keyFile {
            configuration.certificateChain = try Self.certificates(
                ConfigurationKey.redisTLSCertificate, certificateFile
            ).map { .certificate($0) }
            do {
                configuration.privateKey = .privateKey(try NIOSSLPrivateKey(file: keyFile, format: .pem))
            } catch {
                throw Self.unusable(ConfigurationKey.redisTLSKey, keyFile, "an unencrypted private key")
            }
        }
        do {
            return try NIOSSLContext(configuration: configuration)
        } catch {
            throw unusableContext(error)
        }
    }

    private func unusableContext(_ error: any Error) -> ConfigurationError {
        guard let certificateFile, let keyFile else {
            let store = caFile ?? Self.systemDirectory
            return ConfigurationError(
                key: ConfigurationKey.redisTLSAuthorities.name,
                "\(ConfigurationKey.redisTLSAuthorities.name): TLS cannot be set up with the authorities in \(store) (\(error))"
            )
        }
        return ConfigurationError(
            key: ConfigurationKey.redisTLSKey.name,
            "\(ConfigurationKey.redisTLSKey.name): the key in \(keyFile) does not belong to the certificate in \(certificateFile) (\(ConfigurationKey.redisTLSCertificate.name)), or one of them cannot be used (\(error))"
        )
    }

    private static func certificates(
        _ key: ConfigurationKey, _ path: String
    ) throws(ConfigurationError) -> [NIOSSLCertificate] {
        guard let certificates = try? NIOSSLCertificate.fromPEMFile(path), !certificates.isEmpty else {
            throw unusable(key, path, "certificates")
        }
        return certificates
    }

    private static func unusable(_ key: ConfigurationKey, _ path: String, _ what: String) -> ConfigurationError {
        let why =
            access(path, R_OK) == 0
            ? "there is nothing usable in it" : "it can't be read: \(String(cString: strerror(errno)))"
        return ConfigurationError(
            key, value: path, problem: "is not usable: \(why)", remedy: "give a PEM file with \(what)")
    }

    /// The state of the files when they were read.
    fileprivate var stamp: [FileStamp] { files.map(FileStamp.init) }
}

/// Detects whether a file was replaced or rewritten.
private struct FileStamp: Equatable {
    private var device: UInt64 = 0
    private var inode: UInt64 = 0
    private var bytes: Int64 = 0
    private var seconds: Int = 0
    private var nanoseconds: Int = 0

    init(_ path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else { return }
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
        bytes = Int64(status.st_size)
        seconds = status.st_mtim.tv_sec
        nanoseconds = status.st_mtim.tv_nsec
    }
}

/// The TLS context of later connections. Certificates are renewed while syncd runs: changed files are read again, and
/// an authority counts from the day on which it becomes valid to the one on which it expires.
final class TLSContextSource {
    let settings: TLSSettings
    private var known: Known?

    private struct Known {
        var stamp: [FileStamp]
        var authorities: TrustedAuthorities?
        /// The authorities that `context` trusts.
        var trusted: [NIOSSLCertificate]?
        var context: NIOSSLContext
    }

    init(_ settings: TLSSettings) { self.settings = settings }

    func context(now: time_t = time(nil)) throws(ConfigurationError) -> NIOSSLContext {
        let stamp = settings.stamp
        let isUnchanged = known?.stamp == stamp
        if isUnchanged, let known, known.trusted == known.authorities?.valid(at: now) { return known.context }
        let authorities = isUnchanged ? known?.authorities : try settings.readAuthorities()
        let trusted = authorities?.valid(at: now)
        let context = try settings.makeContext(trusting: trusted)
        known = Known(stamp: stamp, authorities: authorities, trusted: trusted, context: context)
        return context
    }

    /// A handler that accepts only the server of this name or address.
    ///
    /// NIOSSL calls its check after the one of the chain and before anything is sent or received. The function is not
    /// part of its stable API; the public callback would replace the check of the chain.
    func handler(_ identity: CertifiedHost) throws -> NIOSSLClientHandler {
        try NIOSSLClientHandler._makeSSLClientHandler(context: try context(), serverHostname: identity.indicatedName) {
            certificate, channel in
            channel.eventLoop.makeCompletedFuture { try identity.verify(certificate) }
        }
    }

    /// Faults of the authorities in `caFile`, for the message about a certificate that is not trusted.
    func faults(now: time_t = time(nil)) -> String? {
        guard let caFile = settings.caFile, let faults = known?.authorities?.faults(at: now) else { return nil }
        return "in \(caFile) (\(ConfigurationKey.redisTLSAuthorities.name)), \(faults)"
    }
}
