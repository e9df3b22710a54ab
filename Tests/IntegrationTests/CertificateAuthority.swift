import Foundation
import TestSupport

/// A certificate and its key, as files.
struct Identity: Sendable {
    var certificate: String
    var key: String
}

/// An authority of a test: makes certificates with openssl, good ones and bad ones.
struct CertificateAuthority: Sendable {
    private let directory: TemporaryDirectory
    private let name: String
    let identity: Identity

    /// The file that trusts it.
    var certificate: String { identity.certificate }

    init(_ name: String = "ca") async throws {
        directory = try TemporaryDirectory()
        self.name = name
        identity = try await Self.selfSigned(name, in: directory, names: "DNS:\(name).example")
    }

    /// A certificate that this authority has signed.
    ///
    /// - Parameters:
    ///   - names: the subject alternative names, as openssl writes them: `DNS:localhost,IP:127.0.0.1`.
    ///   - days: until it expires; a negative number makes one that has expired.
    func issue(_ file: String, names: String, days: Int = 2) async throws -> Identity {
        let issued = Identity(certificate: directory.file("\(file).crt"), key: directory.file("\(file).key"))
        let request = directory.file("\(file).csr")
        let extensions = try directory.write("subjectAltName=\(names)\n", to: "\(file).ext")
        try await Self.openssl(
            ["req", "-newkey"] + Self.keyKind + ["-keyout", issued.key, "-out", request, "-subj", "/CN=\(file)"])
        try await Self.openssl([
            "x509", "-req", "-in", request, "-CA", identity.certificate, "-CAkey", identity.key, "-days", "\(days)",
            "-extfile", extensions, "-out", issued.certificate,
        ])
        return issued
    }

    /// A certificate that nobody but itself vouches for.
    static func selfSigned(
        _ name: String, in directory: TemporaryDirectory, names: String
    ) async throws -> Identity {
        let made = Identity(certificate: directory.file("\(name).crt"), key: directory.file("\(name).key"))
        try await openssl(
            ["req", "-x509", "-newkey"] + keyKind + [
                "-keyout", made.key, "-out", made.certificate, "-subj", "/CN=\(name)", "-days", "2",
                "-addext", "subjectAltName=\(names)",
            ])
        return made
    }

    private static let keyKind = ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

    private static func openssl(_ arguments: [String]) async throws {
        let finished = try await ChildProcess.run(try Executables.find("openssl"), arguments)
        guard finished.exit == .status(0) else {
            throw TestFailure("openssl \(arguments.joined(separator: " ")): \(finished.errors)")
        }
    }
}
