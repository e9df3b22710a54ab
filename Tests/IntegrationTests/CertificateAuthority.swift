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
    ///   - names: the subject alternative names, as openssl writes them: `DNS:localhost,IP:127.0.0.1`; `nil`: none.
    ///   - commonName: by default the name of the file.
    ///   - days: until it expires; a negative number makes one that has expired.
    func issue(
        _ file: String, names: String?, commonName: String? = nil, days: Int = 2
    ) async throws -> Identity {
        let issued = Identity(certificate: directory.file("\(file).crt"), key: directory.file("\(file).key"))
        let request = directory.file("\(file).csr")
        let extensions = try directory.write(
            names.map { "subjectAltName=\($0)\n" } ?? "basicConstraints=CA:FALSE\n", to: "\(file).ext")
        try await Self.openssl(
            ["req", "-newkey"] + Self.keyKind + [
                "-keyout", issued.key, "-out", request, "-subj", "/CN=\(commonName ?? file)",
            ])
        try await Self.openssl([
            "x509", "-req", "-in", request, "-CA", identity.certificate, "-CAkey", identity.key, "-days", "\(days)",
            "-extfile", extensions, "-out", issued.certificate,
        ])
        return issued
    }

    /// Another certificate of this authority, with the same name and key.
    ///
    /// - Parameters:
    ///   - from: when it becomes valid, as days from now.
    ///   - until: when it expires, as days from now.
    /// - Returns: its text in PEM.
    func certificate(from: Int, until: Int) async throws -> String {
        let made = directory.file("\(name).\(from).\(until).crt")
        // Only openssl-ca(1) lets both dates be given, in versions before 3.4.
        let state = try TemporaryDirectory()
        let configuration = try state.write(
            """
            [ca]
            default_ca = this
            [this]
            database = \(try state.write("", to: "index"))
            serial = \(try state.write("01\n", to: "serial"))
            new_certs_dir = \(state.path)
            default_md = sha256
            policy = any
            x509_extensions = authority
            [any]
            commonName = supplied
            [authority]
            basicConstraints = critical,CA:TRUE
            subjectKeyIdentifier = hash
            authorityKeyIdentifier = keyid:always
            """, to: "openssl.cnf")
        let request = state.file("request")
        try await Self.openssl(["req", "-new", "-key", identity.key, "-out", request, "-subj", "/CN=\(name)"])
        try await Self.openssl([
            "ca", "-batch", "-notext", "-selfsign", "-config", configuration, "-keyfile", identity.key, "-in", request,
            "-out", made, "-startdate", Self.date(from), "-enddate", Self.date(until),
        ])
        return try String(contentsOfFile: made, encoding: .utf8)
    }

    private static func date(_ days: Int) -> String {
        let formatter = DateFormatter()
        formatter.locale = Locale(identifier: "en_US_POSIX")
        formatter.timeZone = TimeZone(identifier: "UTC")
        formatter.dateFormat = "yyyyMMddHHmmss'Z'"
        return formatter.string(from: Date(timeIntervalSinceNow: Double(days) * 86_400))
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
