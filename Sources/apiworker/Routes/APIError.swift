import NIOHTTP1

/// Every error response (docs/http-api.md, "Errors"). None shows internals of the server.
enum APIError: Error, Sendable, Equatable {
    /// The body is JSON, but breaks the endpoint's rules.
    case validation([FieldProblem])
    case malformedJSON
    case malformedRequest
    case friendIDMissing
    case linkToSelf
    case userNotFound
    case eitherUserNotFound
    case routeNotFound
    case methodNotAllowed(Route)
    case userHasFriends
    case duplicate
    case bodyTooLarge
    case notJSON
    /// The body has a coding, such as gzip.
    case encodedBody(String)
    /// The request is for a host that is not one of those configured.
    case unknownHost
    /// The result is larger than the maximum response.
    case answerTooLarge
    case databaseUnavailable
    /// Long responses take too much memory at this moment.
    case tooManyLongResponses
    /// Too many streams, or the worker is ending.
    case tooManyStreams
    case unexpected

    /// Time in seconds after which a client may try again after a 503.
    private static let retryAfterSeconds = 1

    var response: Response {
        switch self {
        case .validation(let problems): Self.validationResponse(problems)
        case .malformedJSON: JSONResponse.message("Malformed JSON", status: .badRequest)
        case .malformedRequest: Self.closing(JSONResponse.message("Malformed HTTP request", status: .badRequest))
        case .friendIDMissing: JSONResponse.message("friendId is required in the body", status: .badRequest)
        case .linkToSelf: JSONResponse.message("Users cannot link to themselves.", status: .badRequest)
        case .userNotFound: JSONResponse.message("User not found", status: .notFound)
        case .eitherUserNotFound: JSONResponse.message("One or both users not found.", status: .notFound)
        case .routeNotFound: JSONResponse.message("Not found", status: .notFound)
        case .methodNotAllowed(let route):
            JSONResponse.message("Method not allowed", status: .methodNotAllowed).with("Allow", route.allowed)
        case .userHasFriends:
            JSONResponse.message(
                "User cannot be deleted while they have friends. Please unlink them first.", status: .conflict)
        case .duplicate: JSONResponse.message("Another user has these values already.", status: .conflict)
        // The rest of the body is not waited for.
        case .bodyTooLarge:
            Self.closing(JSONResponse.message("Request body too large", status: .payloadTooLarge))
        case .notJSON:
            JSONResponse.message("Content-Type must be application/json", status: .unsupportedMediaType)
        case .encodedBody(let encoding): Self.encodedResponse(encoding)
        case .unknownHost: JSONResponse.message("Unknown host", status: .misdirectedRequest)
        case .answerTooLarge:
            JSONResponse.message(
                "Too many users for one answer. Please use the paginated list.", status: .internalServerError)
        case .databaseUnavailable: Self.unavailable("Database unavailable")
        case .tooManyLongResponses: Self.unavailable("Too many long responses at this moment")
        case .tooManyStreams: Self.unavailable("Too many event streams")
        case .unexpected: JSONResponse.message("Internal server error", status: .internalServerError)
        }
    }

    private static func unavailable(_ message: StaticString) -> Response {
        JSONResponse.message(message, status: .serviceUnavailable).with("Retry-After", String(retryAfterSeconds))
    }

    /// Names the coding, which the client may not know of: many libraries compress by themselves.
    private static func encodedResponse(_ encoding: String) -> Response {
        var writer = JSONWriter()
        writer.object { $0.field("message", "Content-Encoding \(encoding) is not supported; send the body without it") }
        return JSONResponse.make(writer.buffer, status: .unsupportedMediaType).with("Accept-Encoding", "identity")
    }

    private static func validationResponse(_ problems: [FieldProblem]) -> Response {
        var writer = JSONWriter()
        writer.object { writer in
            writer.field("message", "Validation Error")
            writer.name("details")
            writer.array { writer in
                for problem in problems {
                    writer.object { writer in
                        writer.field("field", problem.field)
                        writer.field("rule", problem.rule)
                    }
                }
            }
        }
        return JSONResponse.make(writer.buffer, status: .badRequest)
    }

    private static func closing(_ response: Response) -> Response { response.with("Connection", "close") }
}

extension APIError {
    /// The error response for a failure of the database.
    init(_ failure: StorageFailure) {
        switch failure.kind {
        case .unavailable: self = .databaseUnavailable
        case .duplicate: self = .duplicate
        case .tooLarge: self = .answerTooLarge
        case .busy: self = .tooManyLongResponses
        case .rejected: self = .unexpected
        }
    }
}
