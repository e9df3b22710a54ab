import CMongoC

/// The server that was selected for an operation, and the time of its clock.
struct MongoTarget {
    /// The kind of a server.
    enum Kind: Equatable {
        /// A standalone server: no transactions.
        case standalone
        /// The primary of a replica set, or a mongos in front of several.
        case replicated
    }

    /// libmongoc's number for the server.
    let id: UInt32
    let kind: Kind
    /// Whether two documents may be on servers with separate clocks.
    let isSharded: Bool
    /// A lower bound of the server's clock minus this host's monotonic time, in milliseconds.
    private let offset: Int64

    /// A lower bound of the server's clock: milliseconds since 1970. The server itself reported it, and the time since
    /// then is added. This host's wall clock has no part in it.
    var time: Int64 { offset + Self.now }

    static var now: Int64 { bson_get_monotonic_time() / 1000 }

    /// - Throws: the server is no primary. libmongoc selects one all the same where `DB_URL` names a single host.
    init(_ server: OpaquePointer, _ clocks: ServerClocks) throws(StorageFailure) {
        // Read in place: each request selects a server.
        let hello = mongoc_server_description_hello_response(server).flatMap(BSONDocument.bytes)
        func inHello(_ name: StaticString) -> BSONElement? { hello.flatMap { BSONElements.first(name, in: $0) } }
        let type = String(cString: mongoc_server_description_type(server))
        switch type {
        case "Standalone": kind = .standalone
        case "RSPrimary", "Mongos", "LoadBalancer": kind = .replicated
        default: throw .noPrimary(type, of: inHello("setName")?.text.map { String(decoding: $0, as: UTF8.self) })
        }
        isSharded = type == "Mongos" || type == "LoadBalancer"
        id = mongoc_server_description_id(server)
        // Not noted: behind a load balancer there are no heartbeats.
        offset =
            clocks.offset(of: mongoc_server_description_host(server))
            ?? (inHello("localTime")?.date ?? 0) - Self.now
    }

    /// The same server, after it was asked for its time.
    init(_ target: MongoTarget, time: Int64) {
        (id, kind, isSharded) = (target.id, target.kind, target.isSharded)
        offset = time - Self.now
    }
}

extension BSONDocument {
    /// The server's clock in an answer to `hello`, read while it answered. Milliseconds since 1970.
    fileprivate var localTime: Int64? {
        if case .date(let milliseconds)? = self["localTime"] { milliseconds } else { nil }
    }
}

extension MongoClient {
    /// The server that reads and writes go to: a primary, a standalone server or a mongos.
    ///
    /// - Throws: there is none.
    func target() throws(StorageFailure) -> MongoTarget {
        var error = bson_error_t()
        guard let server = mongoc_client_select_server(pointer, true, nil, &error) else {
            let failure = StorageFailure(error, reply: [:])
            throw naming(failure)
        }
        defer { mongoc_server_description_destroy(server) }
        return try MongoTarget(server, clocks)
    }

    /// - Throws: by the last heartbeat, it is not what it was. Costs no round trip.
    func check(_ target: MongoTarget) throws(StorageFailure) {
        guard let server = mongoc_client_get_server_description(pointer, target.id) else { throw .tooLate }
        defer { mongoc_server_description_destroy(server) }
        _ = try MongoTarget(server, clocks)
    }

    /// The same server, with its present time. Costs a round trip.
    func asked(_ target: MongoTarget) throws(StorageFailure) -> MongoTarget {
        guard let time = try serverTime(of: target.id) else { throw .noTime }
        return MongoTarget(target, time: time)
    }

    /// The time of the server's clock; `nil` if it doesn't report one.
    func serverTime(of server: UInt32) throws(StorageFailure) -> Int64? {
        let command = (["hello": .int32(1)] as BSONDocument).allocated()
        defer { bson_destroy(command) }
        return try reply {
            mongoc_client_command_simple_with_server_id(pointer, "admin", command, nil, server, $0, $1)
        }.localTime
    }

    /// Adds the servers that libmongoc knows, for the log, where its own text names none.
    private func naming(_ failure: StorageFailure) -> StorageFailure {
        var count = 0
        let servers = mongoc_client_get_server_descriptions(pointer, &count)
        defer { mongoc_server_descriptions_destroy_all(servers, count) }
        let texts = (0..<count).compactMap { index -> String? in
            guard let server = servers?[index], let host = mongoc_server_description_host(server) else { return nil }
            return ServerClocks.name(of: host) + " " + String(cString: mongoc_server_description_type(server))
        }
        if !texts.isEmpty { return failure.naming("servers: " + texts.joined(separator: ", ")) }
        // A server that belongs to another set leaves the list without a word. One that cannot be reached is not in the
        // list either, but the driver names it with its reason, in brackets.
        guard let name = mongoc_uri_get_replica_set(mongoc_client_get_uri(pointer)), !failure.detail.contains("[")
        else { return failure }
        pool.noteThatNoServerIsLeft()
        var named = failure.naming(
            "no server of DB_URL belongs to replica set \(String(cString: name)): correct replicaSet= in it")
        named.isOfAnotherSet = true
        return named
    }
}

extension StorageFailure {
    fileprivate static let noTime = StorageFailure(
        kind: .unavailable, evidence: .answered, detail: "the server does not tell its time")

    /// The server that answers may hold less than the acknowledged writes.
    fileprivate static func noPrimary(_ type: String, of set: String?) -> StorageFailure {
        guard let set else {
            return StorageFailure(
                kind: .unavailable, evidence: .unusable, detail: "DB_URL names a server that is not usable (\(type))")
        }
        let what = type == "RSSecondary" ? "a secondary" : "a member that is not the primary (\(type))"
        return StorageFailure(
            kind: .unavailable, evidence: .unusable,
            detail: "DB_URL names \(what) of replica set \(set): "
                + "add replicaSet=\(set), without directConnection, so that the primary is found")
    }
}
