import IPC
import NIOCore
import NIOHTTP1
import ProcessSupport

/// The implementation of each endpoint (docs/http-api.md, "Endpoints").
struct Routes: Sendable {
    let users: CachedUsers
    let writes: UserWrites
    let state: WorkerState
    let host: HostState
    let metrics: SharedMetrics
    let streams: EventStreams
    /// `nil`: no compression.
    let compressed: CompressedBodies?
    let bodies: PreparedBodies
    /// Maximum length of a request's body, in bytes.
    let bodyBytes: Int

    /// Default number of users on a page of the list, and of the graph.
    static let defaultListLimit = 50
    static let defaultGraphLimit = 100

    // MARK: At once

    /// The body of a GET or HEAD that L1 answers.
    func bodyInMemory(_ route: Route, _ request: Request) -> ByteBuffer? {
        let entry: CacheEntry
        switch route {
        case .users: entry = .users
        case .statistics: entry = .statistics
        case .graph: entry = Self.graph(request)
        case .user(let id) where UserID.isValid(id): entry = .user(id: id)
        default: return nil
        }
        return users.bodyInMemory(entry, after: request.after)
    }

    /// The response to a request that waits for nothing; `nil`: another one.
    ///
    /// - Parameter channel: the connection that carries it.
    func immediate(_ route: Route, _ request: Request, on channel: any Channel) throws(APIError) -> Response? {
        switch route {
        case .health: JSONResponse.entity(state.health)
        case .status: JSONResponse.entity(state.status)
        case .page: LivePage.response
        case .openAPI: OpenAPIDocument.response
        case .events: request.method == .HEAD ? EventStreams.head : try events(channel)
        default: nil
        }
    }

    /// Whether the response depends on the body.
    ///
    /// - Throws: the head says that the body is of another type.
    func needsBody(_ route: Route, _ request: Request) throws(APIError) -> Bool {
        switch (route, request.method) {
        case (.users, .POST), (.user, .PUT), (.link, _), (.unlink, _):
            try request.checkBodyType()
            return true
        default: return false
        }
    }

    private func events(_ channel: any Channel) throws(APIError) -> Response {
        // The first state sent to the page must be the present one.
        streams.publish(state.cache.status.news)
        guard let response = streams.response(on: channel) else { throw .tooManyStreams }
        return response
    }

    // MARK: Reads

    /// - Parameter request: its method is one that the route allows, and its body is there if the route needs it.
    nonisolated(nonsending) func answer(_ route: Route, _ request: Request) async throws -> Response {
        switch (route, request.method) {
        case (.host, _): JSONResponse.entity(await host.body)
        case (.metrics, _): Response(type: PrometheusText.contentType, await metrics.body)
        case (.users, .POST): try await create(request)
        case (.users, _): await cached(try await users.users(after: request.after), for: request)
        case (.paginatedUsers, _): try await list(request)
        case (.statistics, _): await cached(try await users.statistics(after: request.after), for: request)
        case (.graph, _):
            await cached(
                try await users.graph(Self.graph(request), after: request.after), for: request)
        case (.user(let id), .PUT): try await update(id, request)
        case (.user(let id), .DELETE): try await delete(id)
        case (.user(let id), _): try await user(id, request)
        case (.link(let id), _): try await change(.link, id, request)
        case (.unlink(let id), _): try await change(.unlink, id, request)
        case (.health, _), (.status, _), (.page, _), (.openAPI, _), (.events, _): APIError.unexpected.response
        }
    }

    private nonisolated(nonsending) func list(_ request: Request) async throws -> Response {
        let query = QueryParameters(request.query)
        let wanted = PageRequest.parse(
            page: query["page"], limit: query["limit"], defaultLimit: Self.defaultListLimit)
        let body = try await users.store.list(wanted, search: query["search"])
        return JSONResponse.make(body).with("ETag", await bodies.tag(of: body).description)
    }

    private static func graph(_ request: Request) -> CacheEntry {
        let query = QueryParameters(request.query)
        let page = PageRequest.parse(page: query["page"], limit: query["limit"], defaultLimit: defaultGraphLimit)
        return .graph(page, includesConnections: query["includeConnections"] != "false")
    }

    private nonisolated(nonsending) func user(_ id: String, _ request: Request) async throws -> Response {
        guard UserID.isValid(id) else { throw APIError.userNotFound }
        return await cached(try await users.user(id, after: request.after), for: request)
    }

    /// Whether the response to a request may be compressed.
    func isCompressed(for request: Request) -> Bool {
        compressed != nil && AcceptEncoding.prefersGzip(request.headers.list("Accept-Encoding"))
    }

    /// A value of the cache as it is sent. A negative result may come from the cache, too.
    private nonisolated(nonsending) func cached(_ result: CachedValue, for request: Request) async -> Response {
        guard let body = result.value else {
            return APIError.userNotFound.response.from(result.source.rawValue)
        }
        let tag = await bodies.tag(of: body)
        var response = Self.entity(
            body, tag, source: result.source, age: result.age, isCompressible: compressed != nil)
        if isCompressed(for: request), let gzip = await compressed?.compressed(body, tag: tag) {
            response.body = .bytes(gzip)
            response.headers.replaceOrAdd(name: "Content-Length", value: String(gzip.readableBytes))
            response.headers.replaceOrAdd(name: "ETag", value: tag.ofGzip)
            response.headers.add(name: "Content-Encoding", value: "gzip")
        }
        return response
    }

    /// The response with a cached body.
    ///
    /// - Parameter isCompressible: bodies are sent in gzip to clients that accept it.
    static func entity(
        _ body: ByteBuffer, _ tag: EntityTag, source: CacheSource, age: Duration? = nil, isCompressible: Bool
    ) -> Response {
        var response = JSONResponse.make(body).with("ETag", tag.description).from(source.rawValue)
        if let age { response.headers.add(name: "Age", value: String(age.components.seconds)) }
        if isCompressible { response.headers.add(name: "Vary", value: "Accept-Encoding") }
        return response
    }

    // MARK: Writes

    private func create(_ request: Request) async throws -> Response {
        let written = try await writes.create(try valid(try await object(request), NewUser.validate))
        return JSONResponse.make(body(of: written.value), status: .created).at(written.position)
    }

    private func update(_ id: String, _ request: Request) async throws -> Response {
        let change = try valid(try await object(request), UserChange.validate)
        guard UserID.isValid(id) else { throw APIError.userNotFound }
        let written = try await writes.update(id, change)
        let response = written.value.map { JSONResponse.make(body(of: $0)) } ?? APIError.userNotFound.response
        return response.at(written.position)
    }

    private func delete(_ id: String) async throws -> Response {
        guard UserID.isValid(id) else { throw APIError.userNotFound }
        let written = try await writes.delete(id)
        let response =
            switch written.value {
            case .deleted: JSONResponse.message("User deleted successfully")
            case .hasFriends: APIError.userHasFriends.response
            case .notFound: APIError.userNotFound.response
            }
        return response.at(written.position)
    }

    private func change(_ change: FriendshipChange, _ id: String, _ request: Request) async throws -> Response {
        guard case .string(let friend)? = try await request.json()?["friendId"], !friend.isEmpty else {
            throw APIError.friendIDMissing
        }
        if change == .link, friend == id { throw APIError.linkToSelf }
        guard UserID.isValid(id), UserID.isValid(friend) else { throw APIError.eitherUserNotFound }
        let written = try await writes.change(change, between: id, and: friend)
        let response =
            switch change {
            case _ where !written.value: APIError.eitherUserNotFound.response
            case .link: JSONResponse.message("Users linked successfully")
            case .unlink: JSONResponse.message("Users unlinked successfully")
            }
        return response.at(written.position)
    }

    private nonisolated(nonsending) func object(_ request: Request) async throws(APIError) -> JSONValue {
        guard let body = try await request.json() else { throw .malformedJSON }
        return body
    }

    private func valid<Value>(
        _ body: JSONValue, _ validate: (JSONValue) throws(ValidationFailure) -> Value
    ) throws(APIError) -> Value {
        do {
            return try validate(body)
        } catch {
            throw .validation(error.problems)
        }
    }

    private func body(of user: User) -> ByteBuffer {
        var writer = JSONWriter()
        user.write(to: &writer)
        return writer.buffer
    }
}
