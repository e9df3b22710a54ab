import CMongoC
import Glibc
import Logging
import ProcessSupport
import Synchronization

/// Address and options of MongoDB, from `DB_URL`.
final class MongoURI {
    /// Default timeouts in milliseconds: libmongoc's own are far too long for a request (connect 10 s, socket 300 s,
    /// selection 30 s, a client from the pool for ever).
    static let timeouts: KeyValuePairs<String, Int32> = [
        // Shorter than the patience of a request, so that the reason is known when it is over.
        MONGOC_URI_SERVERSELECTIONTIMEOUTMS: 1900,
        MONGOC_URI_CONNECTTIMEOUTMS: 1000,
        MONGOC_URI_SOCKETTIMEOUTMS: 5000,
        MONGOC_URI_WAITQUEUETIMEOUTMS: 250,
    ]
    /// Default number of connections of one worker. Cached reads need none.
    static let defaultPoolSize = 16
    /// Each connection has a thread.
    static let maximumPoolSize = 128
    /// The default database.
    static let defaultDatabase = "test"

    let pointer: OpaquePointer
    /// Names of options that libmongoc does not know, in lower case. They have no effect: typing errors, and options of
    /// other drivers.
    let unknownOptions: [String]

    /// - Throws: the text is no connection string. The reason is libmongoc's, without anything that may be a secret.
    init(_ text: String) throws(UnusableURI) {
        MongoLibrary.initialize()
        if UnusableURI.hasUnescapedAt(text) { throw .unescapedAt }
        var error = bson_error_t()
        var parsed: OpaquePointer?
        let warnings = MongoLibrary.withWarnings { parsed = mongoc_uri_new_with_error(text, &error) }
        guard let pointer = parsed else { throw UnusableURI(error, of: text) }
        self.pointer = pointer
        unknownOptions = warnings.compactMap { warning in
            let parts = warning.split(separator: "\"", omittingEmptySubsequences: false)
            return warning.hasPrefix("Unsupported URI option") && parts.count == 3 ? String(parts[1]) : nil
        }
        for (option, milliseconds) in Self.timeouts where !mongoc_uri_has_option(pointer, option) {
            mongoc_uri_set_option_as_int32(pointer, option, milliseconds)
        }
        mongoc_uri_set_option_as_int32(pointer, MONGOC_URI_MAXPOOLSIZE, Int32(poolSize))
        if mongoc_uri_get_appname(pointer) == nil { mongoc_uri_set_appname(pointer, "apiworker") }
        demandPrimary()
        // A write has a deadline by one server's clock, and must not go to another server.
        mongoc_uri_set_option_as_bool(pointer, MONGOC_URI_RETRYWRITES, false)
    }

    deinit { mongoc_uri_destroy(pointer) }

    /// Options that name files. libmongoc reads them with the first connection and then reports only that there is
    /// none.
    private static let fileOptions = [MONGOC_URI_TLSCAFILE, MONGOC_URI_TLSCERTIFICATEKEYFILE]

    /// The value of `DB_URL`.
    ///
    /// - Throws: it is no connection string, or a file that it names can't be read.
    static func checked(_ text: String) throws(ConfigurationError) -> MongoURI {
        let uri: MongoURI
        do {
            uri = try MongoURI(text)
        } catch {
            throw unusable(text, error)
        }
        for option in fileOptions {
            guard let path = mongoc_uri_get_option_as_utf8(uri.pointer, option, nil), access(path, R_OK) != 0 else {
                continue
            }
            throw ConfigurationError(
                ConfigurationKey.databaseURL, option: option, path: String(cString: path),
                why: String(cString: strerror(errno)),
                remedy: "give the path of a PEM file that the worker's user may read")
        }
        return uri
    }

    static func unusable(_ text: String, _ error: UnusableURI) -> ConfigurationError {
        ConfigurationError(
            ConfigurationKey.databaseURL, value: text, problem: "is no connection string (\(error.reason))",
            remedy: error.remedy)
    }

    /// Cached data must be the newest, and must not be rolled back: reads use the primary, writes wait for a majority,
    /// whatever the URL says. Each write sets this itself, because libmongoc would send a default in reads, too
    /// (``MongoClient/find(_:_:each:)``).
    private func demandPrimary() {
        let preference = mongoc_read_prefs_new(MONGOC_READ_PRIMARY)
        mongoc_uri_set_read_prefs_t(pointer, preference)
        mongoc_read_prefs_destroy(preference)
        let concern = mongoc_write_concern_new()
        mongoc_uri_set_write_concern(pointer, concern)
        mongoc_write_concern_destroy(concern)
    }

    /// Names the options that have no effect.
    func warn(_ logger: Logger) {
        for option in unknownOptions {
            logger.warning(
                "DB_URL has an option that libmongoc does not know: it has no effect", metadata: ["option": "\(option)"]
            )
        }
    }

    /// Maximum number of concurrent operations.
    var poolSize: Int {
        let given = mongoc_uri_get_option_as_int32(pointer, MONGOC_URI_MAXPOOLSIZE, Int32(Self.defaultPoolSize))
        return min(max(Int(given), 1), Self.maximumPoolSize)
    }

    var database: String {
        guard let name = mongoc_uri_get_database(pointer), name.pointee != 0 else { return Self.defaultDatabase }
        return String(cString: name)
    }
}

/// The state that libmongoc keeps for the whole process.
enum MongoLibrary {
    private static let once: Void = {
        // By default libmongoc writes to standard output. Every failure is also returned as an error.
        mongoc_log_set_handler(
            { _, _, message, _ in
                guard let message else { return }
                warnings.withLock { $0?.append(String(cString: message)) }
            }, nil)
        mongoc_init()
        // The library's file of counters, which nobody reads, would be left behind by a killed process. The library makes
        // it before main, so that MONGOC_DISABLE_SHM cannot be set in time.
        shm_unlink("/mongoc-\(getpid())")
    }()

    /// The lines that libmongoc has logged during a call of ``withWarnings(_:)``; `nil`: there is none.
    private static let warnings = Mutex<[String]?>(nil)
    private static let oneCall = Mutex(())

    /// Calls `body`.
    ///
    /// - Returns: the warnings that libmongoc has logged meanwhile.
    static func withWarnings(_ body: () -> Void) -> [String] {
        oneCall.withLock { _ in
            warnings.withLock { $0 = [] }
            body()
            return warnings.withLock { texts in
                defer { texts = nil }
                return texts ?? []
            }
        }
    }

    /// Has to be called before anything else of the library; further calls do nothing.
    static func initialize() { once }
}
