import IPC
import Logging
import NIOCore
import NIOHTTP1

/// Answers requests: finds the route, and adds the headers of every response.
struct Responder: Sendable {
    let routes: Routes
    let cors: CORSPolicy
    let hosts: AcceptedHosts
    let worker: WorkerIdentity
    let requests: RequestMetrics
    let logger: Logger
    private let date = HTTPDate()

    init(
        routes: Routes, cors: CORSPolicy, hosts: AcceptedHosts, worker: WorkerIdentity, requests: RequestMetrics,
        logger: Logger
    ) {
        self.routes = routes
        self.cors = cors
        self.hosts = hosts
        self.worker = worker
        self.requests = requests
        self.logger = logger
    }

    /// The application behind the server.
    var answering: Answering {
        Answering(begin: begin, respond: { await respond(to: $0) }, refuse: refuse, count: count)
    }

    /// Answers what is known at once: hits in L1, the state of the worker, and errors that need no database.
    private func begin(_ request: Request, on channel: any Channel) -> Beginning {
        let route = request.route
        if let route, let response = hit(route, request) { return .answered(response) }
        do throws(APIError) {
            guard hosts.accepts(request) else { throw .unknownHost }
            // No route reads the body of a GET, so its length is not checked for each of them.
            if request.method != .GET, request.hasBody(over: routes.bodyBytes) { throw .bodyTooLarge }
            guard let route else { throw .routeNotFound }
            if request.method == .OPTIONS { return .answered(finished(options(route, request), request)) }
            guard route.allows(request.method) else { throw .methodNotAllowed(route) }
            if let response = try routes.immediate(route, request, on: channel) {
                return .answered(finished(response, request))
            }
            return try routes.needsBody(route, request) ? .needsBody : .needsTime
        } catch {
            return .answered(finished(error.response, request))
        }
    }

    private func refuse(_ request: Request, _ refusal: Refusal) -> Response {
        let error: APIError =
            switch refusal {
            case .bodyTooLarge: .bodyTooLarge
            case .bodyMalformed: .malformedRequest
            case .busy: .tooManyLongResponses
            }
        return finished(error.response, request)
    }

    private nonisolated(nonsending) func respond(to request: Request) async -> Response {
        guard let route = request.route else { return APIError.routeNotFound.response }
        return finished(await response(to: request, route), request)
    }

    private nonisolated(nonsending) func response(to request: Request, _ route: Route) async -> Response {
        do {
            return try await routes.answer(route, request)
        } catch let error as APIError {
            return error.response
        } catch let refused as RefusedWrite {
            log(refused.failure)
            return APIError(refused.failure).response.at(refused.position)
        } catch let failure as StorageFailure {
            log(failure)
            let response = APIError(failure).response
            // The write may be in the database, or land there yet.
            return failure.isOutcomeUnknown ? response.at(.unknown) : response
        } catch is CancellationError {
            return APIError.databaseUnavailable.response
        } catch {
            logger.error("A request failed", metadata: ["error": "\(error)"])
            return APIError.unexpected.response
        }
    }

    /// The response to a GET or HEAD from L1, with a head that was made before. Conditions, codings and pages of other
    /// origins take the long way.
    private func hit(_ route: Route, _ request: Request) -> Response? {
        guard request.method == .GET || request.method == .HEAD, hosts.accepts(request), !cors.concerns(request),
            !request.headers.contains(name: "If-None-Match"), !routes.isCompressed(for: request),
            let body = routes.bodyInMemory(route, request)
        else { return nil }
        let second = HTTPDate.second
        let head = routes.bodies.head(of: body, second: second) { tag in
            var response = Routes.entity(body, tag, source: .l1, isCompressible: routes.compressed != nil)
            addCommon(&response)
            return response.head
        }
        guard let head else { return nil }
        return Response(head: head, body: .bytes(body), source: CacheSource.l1.rawValue)
    }

    /// The response with the headers that all have.
    private func finished(_ response: Response, _ request: Request) -> Response {
        var response = isKnown(response, to: request) ? notModified(response) : response
        addCommon(&response)
        cors.allow(&response.headers, for: request)
        return response
    }

    private func addCommon(_ response: inout Response) {
        response.headers.add(name: "Date", value: date.now)
        response.headers.add(name: "X-Worker", value: worker.text)
        cors.vary(&response.headers)
    }

    private func count(_ request: Request, _ response: Response) {
        requests.add(
            request.method, request.route?.pattern ?? .other, statusCode: Int(response.status.code),
            source: response.source,
            duration: .nanoseconds((NIODeadline.now() - request.arrivedAt).nanoseconds))
    }

    /// Whether the client has this body already. Only a GET or HEAD that was answered 200 has an `ETag`.
    private func isKnown(_ response: Response, to request: Request) -> Bool {
        guard let known = request.headers.list("If-None-Match"), let tag = response.headers.first(name: "ETag") else {
            return false
        }
        return EntityTag.isNamed(tag, in: known)
    }

    /// The same headers without a body, and without those that describe one (RFC 9110, section 15.4.5).
    private func notModified(_ response: Response) -> Response {
        var response = response
        (response.head.status, response.body) = (.notModified, .none)
        for name in ["Content-Type", "Content-Encoding", "Content-Length"] { response.headers.remove(name: name) }
        return response
    }

    private func options(_ route: Route, _ request: Request) -> Response {
        var response = Response(.noContent, ["Allow": route.allowed])
        cors.allowPreflight(&response.headers, for: request, methods: route.allowed)
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
