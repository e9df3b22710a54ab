import CMongoC

/// The reason why a text is no connection string.
struct UnusableURI: Error, Equatable {
    /// libmongoc's reason. The name of an option is quoted. Other quoted texts are replaced, as they may be a part of a
    /// password that was not escaped.
    var reason: String
    var remedy: String

    private static let form = "give mongodb://[user:password@]host:port/database[?options]"

    init(_ error: bson_error_t, of text: String) {
        let message = withUnsafeBytes(of: error.message) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        reason = Self.withoutSecrets(message)
        remedy = Self.lacksSlash(text) ? "put a slash before the question mark: host:port/?options" : Self.form
    }

    /// libmongoc takes the text behind the first @ for a host, and would report it as one that is not found.
    static let unescapedAt = UnusableURI(
        reason: "there is more than one @ before the path",
        remedy: "percent-encode the user and the password: %40 for @")

    private init(reason: String, remedy: String) {
        self.reason = reason
        self.remedy = remedy
    }

    static func hasUnescapedAt(_ text: String) -> Bool {
        let authority = text.split(separator: "://", maxSplits: 1).last?.prefix { $0 != "/" && $0 != "?" }
        return authority?.count { $0 == "@" } ?? 0 > 1
    }

    /// Options must follow a path, even an empty one.
    private static func lacksSlash(_ text: String) -> Bool {
        let parts = text.split(separator: "://", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, let question = parts[1].firstIndex(of: "?") else { return false }
        return !parts[1][..<question].contains("/")
    }

    /// The names of libmongoc's options, in lower case.
    private static let options: Set<String> = Set(
        [
            MONGOC_URI_APPNAME, MONGOC_URI_AUTHMECHANISM, MONGOC_URI_AUTHMECHANISMPROPERTIES, MONGOC_URI_AUTHSOURCE,
            MONGOC_URI_COMPRESSORS, MONGOC_URI_CONNECTTIMEOUTMS, MONGOC_URI_DIRECTCONNECTION,
            MONGOC_URI_HEARTBEATFREQUENCYMS, MONGOC_URI_JOURNAL, MONGOC_URI_LOADBALANCED,
            MONGOC_URI_LOCALTHRESHOLDMS, MONGOC_URI_MAXPOOLSIZE, MONGOC_URI_MAXSTALENESSSECONDS,
            MONGOC_URI_MINPOOLSIZE, MONGOC_URI_READCONCERNLEVEL, MONGOC_URI_READPREFERENCE,
            MONGOC_URI_READPREFERENCETAGS, MONGOC_URI_REPLICASET, MONGOC_URI_RETRYREADS, MONGOC_URI_RETRYWRITES,
            MONGOC_URI_SERVERSELECTIONTIMEOUTMS, MONGOC_URI_SERVERSELECTIONTRYONCE, MONGOC_URI_SOCKETCHECKINTERVALMS,
            MONGOC_URI_SOCKETTIMEOUTMS, MONGOC_URI_SRVMAXHOSTS, MONGOC_URI_SRVSERVICENAME, MONGOC_URI_SSL,
            MONGOC_URI_TLS, MONGOC_URI_TLSALLOWINVALIDCERTIFICATES, MONGOC_URI_TLSALLOWINVALIDHOSTNAMES,
            MONGOC_URI_TLSCAFILE, MONGOC_URI_TLSCERTIFICATEKEYFILE, MONGOC_URI_TLSCERTIFICATEKEYFILEPASSWORD,
            MONGOC_URI_TLSINSECURE, MONGOC_URI_W, MONGOC_URI_WAITQUEUETIMEOUTMS, MONGOC_URI_WTIMEOUTMS,
            MONGOC_URI_ZLIBCOMPRESSIONLEVEL,
        ].map { $0.lowercased() })

    /// Replaces texts between quotation marks or in brackets, unless they are the name of an option.
    static func withoutSecrets(_ message: String) -> String {
        var (result, rest) = ("", Substring(message))
        while let open = rest.firstIndex(where: { "\"'[".contains($0) }) {
            let mark: Character = rest[open] == "[" ? "]" : rest[open]
            let after = rest.index(after: open)
            result += rest[...open]
            rest = rest[after...]
            guard let first = rest.firstIndex(of: mark), let last = rest.lastIndex(of: mark) else {
                return result + "…"
            }
            let quoted = String(rest[..<first])
            let isHarmless = quoted == "=" || options.contains(quoted.lowercased())
            // Otherwise up to the last mark: the quoted text may contain the mark itself.
            result += (isHarmless ? quoted : "…") + String(mark)
            rest = rest[rest.index(after: isHarmless ? first : last)...]
        }
        return result + rest
    }
}
