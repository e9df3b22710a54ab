import CMongoC

extension StorageFailure {
    /// Codes of the server that say: not now (https://www.mongodb.com/docs/manual/reference/error-codes/).
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

    /// A failed call of the driver.
    init(_ error: bson_error_t, reply: BSONDocument) {
        let code = Int32(bitPattern: error.code)
        switch mongoc_error_domain_t(error.domain) {
        case MONGOC_ERROR_SERVER: self.init(serverCode: code, detail: "command failed")
        case MONGOC_ERROR_WRITE_CONCERN: self.init(serverCode: code, detail: "write concern failed")
        case MONGOC_ERROR_SERVER_SELECTION:
            self.init(kind: .unavailable, evidence: .silent, detail: "no suitable server, driver code \(code)")
        case MONGOC_ERROR_STREAM: self.init(kind: .unavailable, detail: "network, driver code \(code)")
        case MONGOC_ERROR_CLIENT where code == MONGOC_ERROR_CLIENT_AUTHENTICATE.rawValue,
            MONGOC_ERROR_SCRAM, MONGOC_ERROR_SASL:
            self.init(kind: .unavailable, detail: "authentication refused, driver code \(code)")
        case MONGOC_ERROR_CLIENT, MONGOC_ERROR_PROTOCOL:
            self.init(kind: .unavailable, detail: "connection, driver code \(code)")
        default:
            self.init(
                kind: .rejected, evidence: .answered, detail: "driver domain \(error.domain), driver code \(code)")
        }
        isTransactionLost = reply.hasErrorLabel("TransientTransactionError")
    }

    /// The first error of a statement in a reply, if there is one.
    init?(writeErrorsIn reply: BSONDocument) {
        if let first = reply["writeErrors"]?.array?.first?.document {
            self.init(serverCode: Int32(clamping: first["code"]?.integer ?? 0), detail: "write error")
        } else if let concern = reply["writeConcernError"]?.document {
            self.init(serverCode: Int32(clamping: concern["code"]?.integer ?? 0), detail: "write concern error")
        } else {
            return nil
        }
    }

    private init(serverCode code: Int32, detail: String) {
        let kind: Kind =
            code == Self.duplicateKey ? .duplicate : Self.transient.contains(code) ? .unavailable : .rejected
        self.init(kind: kind, evidence: .answered, detail: "\(detail), server code \(code)")
    }
}

extension BSONDocument {
    /// Labels by which the server says what may be tried again.
    fileprivate func hasErrorLabel(_ label: String) -> Bool {
        self["errorLabels"]?.array?.contains(.string(label)) ?? false
    }
}
