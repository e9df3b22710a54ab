import Foundation
import TestSupport
import Testing

/// docs/http-api.md, "Conditional requests".
@Suite(.tags(.servers), .processes) struct ConditionalRequestTests {
    @Test func `every JSON that GET answers with 200 has a strong tag, and is not sent again`() async throws {
        let host = try await TestHost.start(
            workers: 1, home: .embedded, environment: ["FRONTEND_ORIGIN_URL": "https://a.example"])
        let http = try host.connect()
        let id = try await TestHost.createUser(http, "a")
        let origin = ("Origin", "https://a.example")
        for path in [
            "/", "/api/status", "/api/users", "/api/users/paginated/list", "/api/users/stats/overview",
            "/api/users/\(id)", "/api/graph",
        ] {
            let full = try await http.request("GET", path, headers: [origin])
            #expect(full.status == 200 && full["content-type"]?.hasPrefix("application/json") == true)
            let tag = try #require(full["etag"], "\(path)")
            #expect(tag.wholeMatch(of: /"[0-9a-f]{48}"/) != nil, "\(path): \(tag)")
            // The figures of the status change all the time.
            let known = path == "/api/status" ? "*" : #""x", W/\#(tag)"#
            for method in ["GET", "HEAD"] {
                let again = try await http.request(method, path, headers: [origin, ("If-None-Match", known)])
                #expect(again.status == 304 && again.body.readableBytes == 0, "\(method) \(path)")
                #expect(again["etag"] == tag || path == "/api/status")
                for name in ["x-worker", "vary", "access-control-allow-origin", "access-control-expose-headers"] {
                    #expect(again[name] != nil && again[name] == full[name], "\(method) \(path): \(name)")
                }
                #expect(again["date"] != nil && again["content-type"] == nil)
                #expect(again["content-length"] == nil && again["transfer-encoding"] == nil)
                #expect((again.cache == nil) == (full.cache == nil), "\(method) \(path)")
                let other = try await http.request(method, path, headers: [("If-None-Match", #""x", W/"y""#)])
                #expect(other.status == 200 && other["etag"] != nil, "\(method) \(path)")
                #expect(other["content-length"] == "\(full.body.readableBytes)" || path == "/api/status")
            }
        }
        let list = try await http.get("/api/users")
        let lines = [("If-None-Match", "\"x\""), ("If-None-Match", list["etag"] ?? "")]
        #expect(try await http.request("GET", "/api/users", headers: lines).status == 304, "in a line of its own")
    }

    @Test func `equal bodies have equal tags, wherever they come from, and a write makes another`() async throws {
        let host = try await TestHost.start(workers: 2, home: .embedded)
        let connections = try await host.connectToEach()
        let id = try await TestHost.createUser(connections[0], "a")
        var replies: [HTTPReply] = []
        for _ in 0..<2 { for http in connections { replies.append(try await http.get("/api/users")) } }
        #expect(replies.map(\.cache) == ["MISS", "L2", "L1", "L2"])
        #expect(Set(replies.map { $0["etag"] }).count == 1)
        let tag = try #require(replies[0]["etag"])
        for cache in ["L1", "L1"] {
            let known = try await connections[1].request("GET", "/api/users", headers: [("If-None-Match", tag)])
            #expect(known.status == 304 && known.cache == cache)
        }
        let written = try await connections[0].request("PUT", "/api/users/\(id)", body: #"{"age":31}"#)
        #expect(written.status == 200 && written["etag"] == nil)
        for (http, cache) in zip(connections, ["MISS", "L2"]) {
            let fresh = try await http.request("GET", "/api/users", headers: [("If-None-Match", tag)])
            #expect(fresh.status == 200 && fresh.cache == cache && fresh["etag"] != tag)
        }
        // Without a cache, too.
        host.syncd?.kill()
        let bypassed = try await connections[0].get("/api/users/\(id)")
        let before = try await connections[1].get("/api/users/\(id)")
        #expect(bypassed["etag"] == before["etag"] && bypassed["etag"] != nil)
    }

    @Test func `what is no 200 of a GET has no tag and heeds no condition`() async throws {
        let host = try await TestHost.start(workers: 1, home: .embedded)
        let http = try host.connect()
        let any = [("If-None-Match", "*")]
        let created = try await http.request(
            "POST", "/api/users", body: #"{"username":"a","age":1,"hobbies":[]}"#, headers: any)
        #expect(created.status == 201 && created["etag"] == nil)
        let missing = "/api/users/\(UUID().uuidString.lowercased())"
        for _ in 0..<2 {
            let reply = try await http.request("GET", missing, headers: any)
            #expect(reply.status == 404 && reply["etag"] == nil)
        }
        #expect(try await http.request("PATCH", "/api/users", headers: any).status == 405)
        let options = try await http.request("OPTIONS", "/api/users", headers: any)
        #expect(options.status == 204 && options["etag"] == nil)
    }
}
