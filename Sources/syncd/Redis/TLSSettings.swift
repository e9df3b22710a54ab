import Glibc
import NIOSSL
import ProcessSupport

/// How syncd proves that it talks to the right Redis over TLS, and who it says that it is.
///
/// The certificate of the server is always verified: its chain up to the system's store or to `caFile`, its dates, and
/// that it is for the name (or the address) of the URL, or for `serverName`. There is no switch that turns this off: a
/// private or self-signed certificate goes into `caFile`.
struct TLSSettings: Sendable, Equatable {
    /// Certificates (PEM) that are trusted instead of the system's store.
    var caFile: String?
    /// syncd's own certificate (PEM, with the intermediate ones after it), for servers that ask for one.
    var certificateFile: String?
    /// The private key (PEM) of `certificateFile`.
    var keyFile: String?
    /// The name that the server's certificate is for, where it is not the URL's host; also sent as SNI.
    var serverName: String?

    private var files: [String] { [caFile, certificateFile, keyFile].compactMap { $0 } }

    /// Reads the files.
    func makeContext() throws(ConfigurationError) -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        configuration.certificateVerification = .fullVerification
        // A server that is gone does not say goodbye; the connection counts as closed before this anyway.
        configuration.shutdownTimeout = .milliseconds(500)
        if let caFile {
            configuration.trustRoots = .certificates(try Self.certificates(Self.caFileKey, caFile))
        }
        if let certificateFile, let keyFile {
            configuration.certificateChain = try Self.certificates(
                Self.certificateFileKey, certificateFile
            ).map { .certificate($0) }
            do {
                configuration.privateKey = .privateKey(try NIOSSLPrivateKey(file: keyFile, format: .pem))
            } catch {
                throw Self.unusable(Self.keyFileKey, keyFile, "an unencrypted private key")
            }
        }
        do {
            return try NIOSSLContext(configuration: configuration)
        } catch {
            throw ConfigurationError(
                key: Self.keyFileKey.name,
                "\(Self.keyFileKey.name): the key does not belong to the certificate of \(Self.certificateFileKey.name), or one of them cannot be used (\(error))"
            )
        }
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

    /// What the files were when they were read.
    fileprivate var stamp: [FileStamp] { files.map(FileStamp.init) }
}

/// Tells whether a file was replaced or rewritten.
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

/// The TLS context of the connections to come. Certificates are renewed while syncd runs: their files are read again
/// when they have changed.
final class TLSContextSource {
    let settings: TLSSettings
    private var known: (stamp: [FileStamp], context: NIOSSLContext)?

    init(_ settings: TLSSettings) { self.settings = settings }

    func context() throws(ConfigurationError) -> NIOSSLContext {
        let stamp = settings.stamp
        if let known, known.stamp == stamp { return known.context }
        let context = try settings.makeContext()
        known = (stamp, context)
        return context
    }
}
