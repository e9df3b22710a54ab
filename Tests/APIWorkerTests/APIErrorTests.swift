import NIOCore
import TestSupport
import Testing

@testable import apiworker

/// docs/http-api.md, "Errors".
@Suite struct APIErrorTests {
    private static let all: [(APIError, Int, String)] = [
        (.validation([UserRules.age]), 400, "Validation Error"), (.malformedJSON, 400, "Malformed JSON"),
        (.malformedRequest, 400, "Malformed HTTP request"), (.friendIDMissing, 400, "friendId is required in the body"),
        (.linkToSelf, 400, "Users cannot link to themselves."), (.userNotFound, 404, "User not found"),
        (.eitherUserNotFound, 404, "One or both users not found."), (.routeNotFound, 404, "Not found"),
        (.methodNotAllowed(.users), 405, "Method not allowed"),
        (.userHasFriends, 409, "User cannot be deleted while they have friends. Please unlink them first."),
        (.duplicate, 409, "Another user has these values already."), (.bodyTooLarge, 413, "Request body too large"),
        (.notJSON, 415, "Content-Type must be application/json"),
        (.encodedBody("gzip"), 415, "Content-Encoding gzip is not supported; send the body without it"),
        (.unknownHost, 421, "Unknown host"),
        (.answerTooLarge, 500, "Too many users for one answer. Please use the paginated list."),
        (.databaseUnavailable, 503, "Database unavailable"), (.tooManyStreams, 503, "Too many event streams"),
        (.tooManyLongResponses, 503, "Too many long responses at this moment"),
        (.unexpected, 500, "Internal server error"),
    ]

    private static func body(_ response: Response) throws -> String {
        guard case .bytes(let bytes) = response.body else { throw TestFailure("no body") }
        return String(buffer: bytes)
    }

    @Test func `status and message`() async throws {
        for (error, status, message) in Self.all {
            let response = error.response
            #expect(response.status.code == status)
            let text = try Self.body(response)
            #expect(try JSONValue.parse(text)["message"] == .string(message))
            #expect(response.headers.first(name: "Content-Type") == "application/json; charset=utf-8")
            #expect(response.headers.first(name: "Content-Length") == "\(text.utf8.count)")
        }
    }

    @Test func `headers that belong to it`() {
        #expect(APIError.methodNotAllowed(.users).response.headers.first(name: "Allow") == "GET, POST, HEAD, OPTIONS")
        #expect(APIError.databaseUnavailable.response.headers.first(name: "Retry-After") == "1")
        #expect(APIError.tooManyStreams.response.headers.first(name: "Retry-After") == "1")
        #expect(APIError.bodyTooLarge.response.headers.first(name: "Connection") == "close")
        #expect(APIError.malformedRequest.response.headers.first(name: "Connection") == "close")
        #expect(APIError.userNotFound.response.headers.first(name: "Connection") == nil)
    }

    @Test func `details name field and rule`() async throws {
        let text = try Self.body(APIError.validation([UserRules.username, UserRules.age]).response)
        #expect(
            text
                == #"{"message":"Validation Error","details":[{"field":"username","rule":"a text of 1 to 100 characters"},{"field":"age","rule":"a number greater than 0 and at most 150"}]}"#
        )
    }

    @Test func `what the database's failures mean`() {
        for (kind, error) in [
            (StorageFailure.Kind.unavailable, APIError.databaseUnavailable), (.duplicate, .duplicate),
            (.tooLarge, .answerTooLarge), (.rejected, .unexpected),
        ] {
            #expect(APIError(StorageFailure(kind: kind, detail: "secret")) == error)
        }
    }

    @Test func `every error is documented with its status`() throws {
        let folder = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let page = try String(contentsOfFile: "/\(folder)/docs/http-api.md", encoding: .utf8)
        for (_, status, message) in Self.all { #expect(page.contains("| \(status) | `\(message)` |"), "\(message)") }
    }
}
