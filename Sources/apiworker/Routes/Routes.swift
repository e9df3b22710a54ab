import HTTPTypes
import Hummingbird
import IPC
import NIOCore
import ProcessSupport

/// The implementation of each endpoint (docs/http-api.md, "Endpoints").
struct Routes: Sendable {
    let users: CachedUsers
    let writes: UserWrites
    let state: WorkerState
    let host: HostState
    let metrics: WorkerMetrics
    let streams: EventStreams
    /// `nil`: no compression.
    let compressed: CompressedBodies?
    let tags = EntityTags()
    /// Maximum length of a request's body, in bytes.
    let bodyBytes: Int

    /// Default number of users on a page of the list, and of the graph.
    private static let defaultListLimit = 50
    private static let defaultGraphLimit = 100

    /// - Parameters:
    ///   - request: its method is one that the route allows.
    ///   - channel: the connection that carries it.
    nonisolated(nonsending) func answer(
        _ route: Route, _ request: Request, on channel: any Channel
    ) async throws -> Response {
        switch (route, request.method) {
        case (.health, _): JSONResponse.entity(state.health)
        case (.status, _): JSONResponse.entity(state.status)
        case (.page, _): LivePage.response
        case (.host, _): JSONResponse.entity(await host.body)
        case (.metrics, _): metricsResponse()
        case (.users, .post): try await create(request)
        case (.users, _): await cached(try await users.users(), for: request)
        case (.paginatedUsers, _): try await list(request)
        case (.statistics, _): await cached(try await users.statistics(), for: request)
        case (.graph, _): try await graph(request)
        case (.events, .head): EventStreams.head
        case (.events, _): try events(channel)
        case (.user(let id), .put): try await update(id, request)
        case (.user(let id), .delete): try await delete(id)
        case (.user(let id), _): try await user(id, request)
        case (.link(let id), _): try await change(.link, id, request)
        case (.unlink(let id), _): try await change(.unlink, id, request)
        }
    }

    // MARK: Reads

    /// The connection is closed after it: a client that repeats the request over one connection would see one worker
    /// only.
    private func metricsResponse() -> Response {
        Response(
            status: .ok, headers: [.contentType: PrometheusText.contentType, .connection: "close"],
            body: ResponseBody(byteBuffer: metrics.text))
    }

    private func events(_ channel: any Channel) throws(APIError) -> Response {
        // The first state sent to the page must be the present one.
        streams.publish(state.cache.status.news)
        guard let response = streams.response(on: channel) else { throw .tooManyStreams }
        return response
    }

    private func list(_ request: Request) async throws -> Response {
        let query = QueryParameters(request.uri.query)
        let wanted = PageRequest.parse(
            page: query["page"], limit: query["limit"], defaultLimit: Self.defaultListLimit)
        return JSONResponse.entity(try await users.store.list(wanted, search: query["search"]))
    }

    private nonisolated(nonsending) func graph(_ request: Request) async throws -> Response {
        let query = QueryParameters(request.uri.query)
        let wanted = PageRequest.parse(
            page: query["page"], limit: query["limit"], defaultLimit: Self.defaultGraphLimit)
        let value = try await users.graph(wanted, includesConnections: query["includeConnections"] != "false")
        return await cached(value, for: request)
    }

    private nonisolated(nonsending) func user(_ id: String, _ request: Request) async throws -> Response {
        guard UserID.isValid(id) else { throw APIError.userNotFound }
        return await cached(try await users.user(id), for: request)
    }

    private nonisolated(nonsending) func cached(_ result: CachedValue, for request: Request) async -> Response {
        await Self.cached(result, for: request, compressed: compressed, tags: tags)
    }

    /// A hit is sent unchanged. A negative result may come from the cache, too.
    nonisolated(nonsending) static func cached(
        _ result: CachedValue, for request: Request, compressed: CompressedBodies?, tags: EntityTags? = nil
    ) async -> Response {
        var response: Response
        if let body = result.value {
            response = await JSONResponse.entity(body, for: request, compressed: compressed, tags: tags)
        } else {
            response = APIError.userNotFound.response
        }
        response.headers[.xCache] = result.source.rawValue
        if let age = result.age { response.headers[.age] = "\(age.components.seconds)" }
        return response
    }

    // MARK: Writes

    private func create(_ request: Request) async throws -> Response {
        let user = try await writes.create(try valid(try await object(request), NewUser.validate))
        return JSONResponse.make(body(of: user), status: .created)
    }

    private func update(_ id: String, _ request: Request) async throws -> Response {
        let change = try valid(try await object(request), UserChange.validate)
        guard UserID.isValid(id), let user = try await writes.update(id, change) else { throw APIError.userNotFound }
        return JSONResponse.make(body(of: user))
    }

    private func delete(_ id: String) async throws -> Response {
        guard UserID.isValid(id) else { throw APIError.userNotFound }
        switch try await writes.delete(id) {
        case .deleted: return JSONResponse.message("User deleted successfully")
        case .hasFriends: throw APIError.userHasFriends
        case .notFound: throw APIError.userNotFound
        }
    }

    private func change(_ change: FriendshipChange, _ id: String, _ request: Request) async throws -> Response {
        guard case .string(let friend)? = try await request.json(limit: bodyBytes)?["friendId"], !friend.isEmpty else {
            throw APIError.friendIDMissing
        }
        if change == .link, friend == id { throw APIError.linkToSelf }
        guard UserID.isValid(id), UserID.isValid(friend), try await writes.change(change, between: id, and: friend)
        else { throw APIError.eitherUserNotFound }
        switch change {
        case .link: return JSONResponse.message("Users linked successfully")
        case .unlink: return JSONResponse.message("Users unlinked successfully")
        }
    }

    private func object(_ request: Request) async throws(APIError) -> JSONValue {
        guard let body = try await request.json(limit: bodyBytes) else { throw .malformedJSON }
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
