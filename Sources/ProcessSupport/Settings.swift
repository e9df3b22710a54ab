import Synchronization

/// The settings of a process, in layers: command line, environment, `--config FILE`, `.env` in the working directory.
/// The first layer that has a key counts.
///
/// Secrets may also be given as a file: in each layer `KEY` is looked for first, then `KEY_FILE`. After all layers
/// comes the file `KEY` in `$CREDENTIALS_DIRECTORY`, which is how systemd passes credentials.
public struct Settings: Sendable {
    /// Sources of values, in order of precedence.
    private struct Layer: Sendable {
        var name: String
        var values: [String: String]
        var isFile = true
    }

    /// Keys that a configuration file may have: those of syncd and of apiworker, which may share one, and those of the
    /// units. Another key is a typing error: the intended setting would silently have no effect.
    static let knownKeys: Set<String> = {
        let keys = ConfigurationKey.syncdKeys + ConfigurationKey.workerKeys
        return Set(keys.map(\.name) + keys.filter(\.isSecret).map(\.fileName) + ["WORKERS"])
    }()
    /// The prefix of keys of limits. syncd knows their names.
    public static let limitPrefix = "SYNCD_LIMIT_"

    /// Maximum size in bytes: more than a connection string ever has.
    static let maximumSecretBytes = 64 << 10

    private let layers: [Layer]
    private let credentialsDirectory: String?
    private let usage = Usage()

    /// - Parameters:
    ///   - commandLine: key (not option) and value of what was given there.
    ///   - configFile: a file that has to be readable and to have known keys only; `nil` if none was named.
    ///   - environment: the process's own by default.
    ///   - workingDirectory: where a `.env` may be; `nil`: none is read.
    /// - Throws: a file can't be read or parsed.
    public init(
        commandLine: [String: String], configFile: String?,
        environment: [String: String] = ProcessEnvironment.current, workingDirectory: String? = "."
    ) throws(ConfigurationError) {
        var layers = [
            Layer(name: "command line", values: commandLine, isFile: false),
            Layer(name: "environment", values: environment, isFile: false),
        ]
        if let configFile {
            let values = try Self.values(ofFile: configFile, isOptional: false)
            try Self.refuseUnknownKeys(values.keys, path: configFile)
            layers.append(Layer(name: configFile, values: values))
        }
        if let workingDirectory {
            let values = try Self.values(ofFile: "\(workingDirectory)/.env", isOptional: true)
            layers.append(Layer(name: ".env", values: values))
        }
        self.layers = layers
        credentialsDirectory = environment["CREDENTIALS_DIRECTORY"]
    }

    /// The keys with this prefix that have a value in any layer.
    public func keys(beginningWith prefix: String) -> [String] {
        layers.flatMap { $0.values.keys.sorted() }.filter { $0.hasPrefix(prefix) }
    }

    private static func isKnown(_ key: String) -> Bool { knownKeys.contains(key) || key.hasPrefix(limitPrefix) }

    /// Only for a file that was named: a `.env` and the environment belong to other programs, too.
    private static func refuseUnknownKeys(_ keys: some Sequence<String>, path: String) throws(ConfigurationError) {
        let unknown = keys.filter { !isKnown($0) }
        guard let first = unknown.min() else { return }
        throw ConfigurationError(
            key: first,
            "\(path): \(first) is no setting; correct or remove it (syncd run --help and apiworker --help name all)")
    }

    private static func values(ofFile path: String, isOptional: Bool) throws(ConfigurationError) -> [String: String] {
        let text: String
        do {
            text = try TextFile.read(path, maximumBytes: EnvironmentFile.maximumBytes)
        } catch .missing where isOptional {
            return [:]
        } catch {
            throw ConfigurationError(key: nil, "the configuration file \(path) can't be read: \(error)")
        }
        return try EnvironmentFile.parse(text, path: path, isOptional ? .keys { isKnown($0) } : .everything)
    }

    /// The value unchanged, also when it is empty; else the default.
    ///
    /// - Throws: a secret's file can't be read.
    public func string(_ key: ConfigurationKey) throws(ConfigurationError) -> String? {
        for layer in layers {
            if let value = value(of: key.name, in: layer) { return value }
            guard key.isSecret, let path = value(of: key.fileName, in: layer) else {
                continue
            }
            do {
                return try secret(path)
            } catch {
                throw ConfigurationError(key: key.name, "\(key.fileName): \(path) can't be read: \(error)")
            }
        }
        if key.isSecret, let credential = try credential(key) { return credential }
        return key.defaultText
    }

    private func value(of name: String, in layer: Layer) -> String? {
        guard let value = layer.values[name] else { return nil }
        usage.add(layer.name)
        return value
    }

    /// The text of an error, after the name of the file that the value is in. `.env` is easily forgotten.
    public func located(_ error: ConfigurationError) -> String {
        let names = error.key.map { [$0, "\($0)_FILE"] } ?? []
        let index = layers.firstIndex { layer in names.contains { layer.values[$0] != nil } }
        let prefix = index.map { layers[$0] }.flatMap { $0.isFile ? "\($0.name): " : nil } ?? ""
        return error.description.hasPrefix(prefix) ? error.description : prefix + error.description
    }

    private func credential(_ key: ConfigurationKey) throws(ConfigurationError) -> String? {
        guard let credentialsDirectory, !credentialsDirectory.isEmpty else { return nil }
        do {
            let value = try secret("\(credentialsDirectory)/\(key.name)")
            usage.add("credentials")
            return value
        } catch .missing {
            return nil
        } catch {
            throw ConfigurationError(key: key.name, "\(key.name): the credential can't be read: \(error)")
        }
    }

    /// A secret's file, without the newline that editors put at the end.
    private func secret(_ path: String) throws(TextFile.Problem) -> String {
        let text = try TextFile.read(path, maximumBytes: Self.maximumSecretBytes)
        guard let last = text.last, last == "\n" || last == "\r\n" else { return text }
        return String(text.dropLast())
    }

    /// The layers that have given a value so far: "environment, .env". "defaults" if none has.
    public var source: String {
        let used = usage.names
        let names = (layers.map(\.name) + ["credentials"]).filter { used.contains($0) }
        return names.isEmpty ? "defaults" : names.joined(separator: ", ")
    }

    /// Names of the layers that gave a value.
    private final class Usage: Sendable {
        private let used = Mutex<Set<String>>([])

        func add(_ name: String) { used.withLock { _ = $0.insert(name) } }

        var names: Set<String> { used.withLock { $0 } }
    }
}
