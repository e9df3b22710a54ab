import HTTPTypes
import Hummingbird
import Logging
import NIOCore

/// Answers requests: finds the route, and adds the headers of every response.
struct Responder: Sendable {
    let routes: Routes
    let cors: CORSPolicy
    let worker: WorkerIdentity
    let requests: RequestMetrics
    let logger: Logger
    private let date = HTTPDate()

    init(routes: Routes, cors: CORSPolicy, worker: WorkerIdentity, requests: RequestMetrics, logger: Logger) {
        self.routes = routes
        self.cors = cors
        self.worker = worker
        self.requests = requests
        self.logger = logger
    }

    nonisolated(nonsending) func respond(to request: Request, on channel: any Channel) async -> Response {
        let start = ContinuousClock.now
        let route = Route(path: request.uri.path)
        var response = await answer(request, route, channel)
        if isKnown(response, to: request) { response = notModified(response) }
        response.headers[.date] = date.now
        response.headers[.xWorker] = worker.text
        cors.apply(to: &response, for: request)
        requests.add(
            request.method, route?.pattern ?? .other, status: response.status,
            source: response.headers.value(.xCache), duration: ContinuousClock.now - start)
        return request.method == .head ? Self.head(of: response) : response
    }

    private nonisolated(nonsending) func answer(
        _ request: Request, _ route: Route?, _ channel: any Channel
    ) async -> Response {
        // No route reads the body of a GET, so its length is not checked for each of them.
        if request.method != .get, request.hasBody(over: routes.bodyBytes) { return APIError.bodyTooLarge.response }
        guard let route else { return APIError.routeNotFound.response }
        if request.method == .options { return options(route, request) }
        guard route.allows(request.method) else { return APIError.methodNotAllowed(route).response }
        do {
            return try await routes.answer(route, request, on: channel)
        } catch let error as APIError {
            return error.response
        } catch let failure as StorageFailure {
            log(failure)
            return APIError(failure).response
        } catch is CancellationError {
            return APIError.databaseUnavailable.response
        } catch {
            logger.error("A request failed", metadata: ["error": "\(error)"])
            return APIError.unexpected.response
        }
    }

    /// The same head without a body. Hummingbird would give a body of unknown length the length 0.
    static func head(of response: Response) -> Response {
        var head = response.createHeadResponse()
        head.headers[.contentLength] = response.headers[.contentLength]
        return head
    }

    /// Whether the client has this body already. Only a GET or HEAD that was answered 200 has an `ETag`.
    private func isKnown(_ response: Response, to request: Request) -> Bool {
        guard let known = request.headers.list(.ifNoneMatch), let tag = response.headers.value(.eTag) else {
            return false
        }
        return EntityTag.isNamed(tag, in: known)
    }

    /// The same headers without a body, and without those that describe one (RFC 9110, section 15.4.5).
    private func notModified(_ response: Response) -> Response {
        var headers = response.headers
        headers[.contentType] = nil
        headers[.contentEncoding] = nil
        var response = Response(status: .notModified, headers: headers)
        response.headers[.contentLength] = nil
        return response
    }

    private func options(_ route: Route, _ request: Request) -> Response {
        var response = Response(status: .noContent, headers: [.allow: route.allowed])
        cors.applyPreflight(to: &response, for: request, allowing: route.allowed)
        return response
    }

    /// An unreachable database is logged once, where it is detected. A duplicate value is reported to the client only.
    private func log(_ failure: StorageFailure) {
        let isExpected = failure.kind == .unavailable || failure.kind == .duplicate
        logger.log(
            level: isExpected ? .debug : .error, "The database failed",
            metadata: [
                "kind": "\(failure.kind.rawValue)", "outcome-unknown": "\(failure.isOutcomeUnknown)",
                "detail": "\(failure.detail)",
            ])
    }
}
