import CMongoC

extension StorageFailure {
    /// The server's codes for temporary failures (https://www.mongodb.com/docs/manual/reference/error-codes/).
    private static let transient: Set<Int32> = [
        6,  // HostUnreachable
        7,  // HostNotFound
        50,  // MaxTimeMSExpired
        64,  // WriteConcernFailed
        89,  // NetworkTimeout
        91,  // ShutdownInProgress
        112,  // WriteConflict
        189,  // PrimarySteppedDown
        202,  // NetworkInterfaceExceededTimeLimit
        262,  // ExceededTimeLimit
        9001,  // SocketException
        10_107,  // NotWritablePrimary
        11_600,  // InterruptedAtShutdown
        11_602,  // InterruptedDueToReplStateChange
        13_435,  // NotPrimaryNoSecondaryOk
        13_436,  // NotPrimaryOrSecondary
    ]
    private static let duplicateKey: Int32 = 11_000
    /// Codes of a server that is no primary for operations that only a primary may do: NotWritablePrimary,
    /// NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary.
    private static let notPrimary: Set<Int32> = [10_107, 13_435, 13_436]
    /// Codes of a failed read that may succeed elsewhere, or a moment later
    /// (https://github.com/mongodb/specifications/blob/master/source/retryable-reads).
    private static let passing: Set<Int32> = notPrimary.union([6, 7, 89, 91, 189, 9001, 11_600, 11_602])

    /// Codes of a change stream that cannot be continued: ChangeStreamFatalError, ChangeStreamHistoryLost,
    /// InvalidResumeToken.
    private static let lostHistory: Set<Int32> = [280, 286, 260]
    /// Codes of a server without change streams for this user: Unauthorized, and a server that is in no replica set.
    private static let withoutChangeStreams: Set<Int32> = [unauthorized, 40_573]
    private static let unauthorized: Int32 = 13

    /// Asking again soon would be in vain.
    var isWithoutChangeStreams: Bool { isOfAnotherSet || serverCode.map(Self.withoutChangeStreams.contains) ?? false }

    /// The failure of a change stream, for the log.
    var changeStreamDetail: String {
        serverCode == Self.unauthorized
            ? detail + "; the user of DB_URL needs the actions find and changeStream on the collection" : detail
    }

    /// A standalone server.
    static let noChangeStreams = StorageFailure(
        kind: .rejected, evidence: .answered, serverCode: 40_573, detail: "only a replica set has change streams")

    /// The server has understood the command, and does not want to carry it out, now or later.
    var isRefusal: Bool { kind == .rejected && serverCode != nil && !mayPassByItself && !isWithoutChangeStreams }

    /// A server that is no primary has not even begun.
    var isRefusedBySecondary: Bool { serverCode.map(Self.notPrimary.contains) ?? false }

    /// A failed call of the driver.
    init(_ error: bson_error_t, reply: BSONDocument) {
        let code = Int32(bitPattern: error.code)
        switch mongoc_error_domain_t(error.domain) {
        case MONGOC_ERROR_SERVER: self.init(serverCode: code, name: reply["codeName"]?.string, detail: "command failed")
        case MONGOC_ERROR_WRITE_CONCERN: self.init(concernCode: code, detail: "write concern failed")
        case MONGOC_ERROR_SERVER_SELECTION:
            self.init(kind: .unavailable, evidence: .silent, detail: Self.text(error))
        case MONGOC_ERROR_STREAM:
            self.init(kind: .unavailable, mayPassByItself: true, detail: "network: " + Self.text(error))
        case MONGOC_ERROR_CLIENT where code == MONGOC_ERROR_CLIENT_AUTHENTICATE.rawValue,
            MONGOC_ERROR_SCRAM, MONGOC_ERROR_SASL:
            self.init(
                kind: .unavailable, evidence: .unusable,
                detail: Self.text(error) + "; check user, password, authSource and authMechanism in DB_URL")
        case MONGOC_ERROR_PROTOCOL where code == MONGOC_ERROR_PROTOCOL_BAD_WIRE_VERSION.rawValue:
            self.init(kind: .unavailable, evidence: .unusable, detail: Self.text(error))
        case MONGOC_ERROR_CLIENT, MONGOC_ERROR_PROTOCOL:
            self.init(kind: .unavailable, mayPassByItself: true, detail: "connection, driver code \(code)")
        default:
            self.init(
                kind: .rejected, evidence: .answered, detail: "driver domain \(error.domain), driver code \(code)")
        }
        isTransactionLost = reply.hasErrorLabel("TransientTransactionError")
        isHistoryLost =
            reply.hasErrorLabel("NonResumableChangeStreamError") || serverCode.map(Self.lostHistory.contains) ?? false
    }

    /// libmongoc's message about servers and connections. These texts quote names of hosts and sets, and reasons of the
    /// TLS library and the resolver.
    private static func text(_ error: bson_error_t) -> String {
        withUnsafeBytes(of: error.message) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }

    /// The first error of a statement in a reply, if there is one.
    init?(writeErrorsIn reply: BSONDocument) {
        if let first = reply["writeErrors"]?.array?.first?.document {
            self.init(serverCode: Int32(clamping: first["code"]?.integer ?? 0), detail: "write error")
        } else if let concern = reply["writeConcernError"]?.document {
            self.init(concernCode: Int32(clamping: concern["code"]?.integer ?? 0), detail: "write concern error")
        } else {
            return nil
        }
    }

    private init(serverCode code: Int32, name: String? = nil, detail: String) {
        self.init(concernCode: code, detail: detail)
        serverCode = code
        mayPassByItself = Self.passing.contains(code)
        // The server's own name for the code, never more than a word.
        if let name, !name.isEmpty, name.utf8.allSatisfy({ (0x41...0x7a).contains($0) }) { self.detail += " (\(name))" }
    }

    /// The write was carried out, but not confirmed: the code does not show that it failed.
    private init(concernCode code: Int32, detail: String) {
        let kind: Kind =
            code == Self.duplicateKey ? .duplicate : Self.transient.contains(code) ? .unavailable : .rejected
        self.init(kind: kind, evidence: .answered, detail: "\(detail), server code \(code)")
    }
}

extension BSONDocument {
    /// Labels by which the server marks operations that may be repeated.
    fileprivate func hasErrorLabel(_ label: String) -> Bool {
        self["errorLabels"]?.array?.contains(.string(label)) ?? false
    }
}
