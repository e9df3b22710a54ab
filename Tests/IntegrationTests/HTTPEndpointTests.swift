import Foundation
import TestSupport
import Testing

/// Every endpoint of docs/http-api.md, on a real database.
@Suite(.tags(.servers), .processes) struct HTTPEndpointTests {
    @Test func `health and status`() async throws {
        let host = try await TestHost.start(workers: 1, home: .embedded)
        let http = try host.connect()
        let health = try await http.get("/")
        #expect(health.status == 200)
        #expect(health.json.names == ["redis", "status", "sync", "worker"])
        #expect(health.json["status"].string == "API is running")
        #expect(health.json["worker"].number == Double(host.workers[0].pid))
        #expect(health.json["redis"].string == "disabled")
        #expect(health["x-worker"] == "\(host.workers[0].pid)")
        #expect(health["content-type"]?.hasPrefix("application/json") == true)
        let status = try await http.get("/api/status")
        #expect(status.json.names == ["applied", "epoch", "l1", "mongo", "redis", "sync", "uptime", "worker"])
        #expect(status.json["l1"].names == ["bytes", "entries", "hits", "misses"])
        #expect(status.json["mongo"].names == ["inUse", "pool"])
        #expect(status.json["redis"].bool == false)
        #expect(status.json["sync"].string == "attached")
        #expect(status.json["epoch"].number ?? 0 > 0)
    }

    @Test func `a user from beginning to end`() async throws {
        let host = try await TestHost.start(workers: 1, home: .embedded)
        let http = try host.connect()
        let created = try await http.request(
            "POST", "/api/users",
            body: #"{"username":"  Ada ","age":36,"hobbies":[" Chess","chess","","Maths"],"friends":["x"],"_id":"y"}"#)
        #expect(created.status == 201)
        let user = created.json
        #expect(user.names == ["_id", "age", "createdAt", "friends", "hobbies", "position", "username"])
        let id = try #require(user["_id"].string)
        #expect(UUID(uuidString: id) != nil && id == id.lowercased())
        #expect(user["username"].string == "Ada")
        #expect(user["hobbies"].strings == ["chess", "maths"])
        #expect(user["friends"].strings == [])
        #expect(created.text.contains("\"age\":36,"), "a number without a fraction has no decimal point")
        #expect(try #require(user["createdAt"].string).wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/) != nil)
        for axis in ["x", "y"] { #expect((0...400).contains(try #require(user["position"][axis].number))) }

        #expect(try await http.get("/api/users/\(id)").json == user)
        #expect(try await http.get("/api/users").json.array == [user])
        let changed = try await http.request(
            "PUT", "/api/users/\(id)", body: #"{"age":36.5,"position":{"x":1,"y":-2.25},"createdAt":"z","friends":[]}"#)
        #expect(changed.status == 200)
        #expect(changed.json["age"].number == 36.5)
        #expect(changed.json["position"]["y"].number == -2.25)
        #expect(changed.json["createdAt"] == user["createdAt"])
        #expect(changed.json["username"] == user["username"])
        let unchanged = try await http.request("PUT", "/api/users/\(id)", body: #"{"nothing":1}"#)
        #expect(unchanged.status == 200 && unchanged.json == changed.json)
        let gone = try await http.request("DELETE", "/api/users/\(id)")
        #expect(gone.status == 200)
        #expect(gone.text == #"{"message":"User deleted successfully"}"#)
        for method in ["GET", "DELETE"] {
            let missing = try await http.request(method, "/api/users/\(id)")
            #expect(missing.status == 404 && missing.json["message"].string == "User not found")
        }
        #expect(try await http.get("/api/users").text == "[]")
    }

    @Test func `links go both ways, once each`() async throws {
        let host = try await TestHost.start(workers: 1, home: .embedded)
        let http = try host.connect()
        let a = try await TestHost.createUser(http, "a"), b = try await TestHost.createUser(http, "b")
        for _ in 0..<2 {
            let linked = try await http.request("POST", "/api/users/\(a)/link", body: #"{"friendId":"\#(b)"}"#)
            #expect(linked.status == 200 && linked.text == #"{"message":"Users linked successfully"}"#)
        }
        #expect(try await http.get("/api/users/\(a)").json["friends"].strings == [b])
        #expect(try await http.get("/api/users/\(b)").json["friends"].strings == [a])
        let refused = try await http.request("DELETE", "/api/users/\(a)")
        #expect(refused.status == 409)
        #expect(
            refused.json["message"].string
                == "User cannot be deleted while they have friends. Please unlink them first.")
        for _ in 0..<2 {
            let unlinked = try await http.request("DELETE", "/api/users/\(b)/unlink", body: #"{"friendId":"\#(a)"}"#)
            #expect(unlinked.status == 200 && unlinked.text == #"{"message":"Users unlinked successfully"}"#)
        }
        #expect(try await http.get("/api/users/\(a)").json["friends"].strings == [])
        #expect(try await http.get("/api/users/\(b)").json["friends"].strings == [])
    }

    @Test func `what is wrong with a link`() async throws {
        let host = try await TestHost.start(workers: 1, home: nil)
        let http = try host.connect()
        let a = try await TestHost.createUser(http, "a")
        let nobody = UUID().uuidString.lowercased()
        for (method, path) in [("POST", "link"), ("DELETE", "unlink")] {
            let cases = [
                ("{}", 400, "friendId is required in the body"),
                (#"{"friendId":""}"#, 400, "friendId is required in the body"),
                (#"{"friendId":"\#(nobody)"}"#, 404, "One or both users not found."), ("{", 400, "Malformed JSON"),
            ]
            for (body, status, message) in cases {
                let reply = try await http.request(method, "/api/users/\(a)/\(path)", body: body)
                #expect(
                    reply.status == status && reply.json["message"].string == message,
                    "\(method) \(body): \(reply.text)")
            }
        }
        let self_ = try await http.request("POST", "/api/users/\(a)/link", body: #"{"friendId":"\#(a)"}"#)
        #expect(self_.status == 400 && self_.json["message"].string == "Users cannot link to themselves.")
    }

    @Test func `graph, statistics and pages`() async throws {
        let host = try await TestHost.start(workers: 1, home: .embedded)
        let http = try host.connect()
        let empty = try await http.get("/api/users/stats/overview")
        #expect(empty.json["avgConnections"].string == "0.00")
        let a = try await TestHost.createUser(http, "Anna", hobbies: ["chess", "go"])
        let b = try await TestHost.createUser(http, "Bert", hobbies: ["chess"])
        let c = try await TestHost.createUser(http, "Cleo", hobbies: ["(a+)+$"])
        for friend in [b, c] {
            _ = try await http.request("POST", "/api/users/\(a)/link", body: #"{"friendId":"\#(friend)"}"#)
        }
        let graph = try await http.get("/api/graph")
        #expect(graph.json.names == ["edges", "nodes", "pagination"])
        #expect(graph.json["nodes"].array?.map { $0["id"].string } == [a, b, c])
        #expect(graph.json["nodes"].array?.map { $0["data"]["popularityScore"].number } == [2.5, 1.5, 1])
        #expect(graph.json["nodes"][0]["data"].names == ["age", "hobbies", "label", "popularityScore"])
        #expect(graph.json["nodes"][0]["type"].string == "lowScoreNode")
        #expect(graph.json["edges"].array?.map { $0["id"].string } == ["e-\(a)-\(b)", "e-\(a)-\(c)"])
        let second = try await http.get("/api/graph?page=2&limit=1")
        #expect(second.json["edges"].array?.map { $0["id"].string } == ["e-\(b)-\(a)"], "friends on other pages count")
        #expect(second.json["nodes"][0]["data"]["popularityScore"].number == 1.5)
        let bare = try await http.get("/api/graph?includeConnections=false")
        #expect(bare.json["edges"].array == [])
        #expect(bare.json["nodes"][0]["data"]["popularityScore"].number == 2)

        let overview = try await http.get("/api/users/stats/overview")
        #expect(
            overview.text
                == #"{"totalUsers":3,"totalConnections":2,"avgConnections":"1.33","totalHobbies":3,"topHobbies":[{"hobby":"chess","count":2},{"hobby":"(a+)+$","count":1},{"hobby":"go","count":1}]}"#
        )

        let list = try await http.get("/api/users/paginated/list?page=2&limit=2")
        #expect(list.json["users"].array?.map { $0["username"].string } == ["Cleo"])
        #expect(list["x-cache"] == nil)
        let page = list.json["pagination"]
        #expect(page.names == ["hasMore", "limit", "page", "total", "totalPages"])
        #expect(page["total"].number == 3 && page["totalPages"].number == 2 && page["hasMore"].bool == false)
        for (query, names) in [
            ("search=AN", ["Anna"]), ("search=CHESS", ["Anna", "Bert"]), ("search=.", []),
            ("search=(a%2B)%2B$", ["Cleo"]),
            ("search=(A%2B", ["Cleo"]), ("limit=0", ["Anna"]), ("limit=x&page=-3", ["Anna", "Bert", "Cleo"]),
            ("page=99999999999999999999", []),
        ] {
            let reply = try await http.get("/api/users/paginated/list?\(query)")
            #expect(reply.json["users"].array?.map { $0["username"].string } == names, "\(query)")
        }
    }

    @Test func `where a cached answer comes from`() async throws {
        let host = try await TestHost.start(workers: 2, home: .embedded)
        let connections = try await host.connectToEach()
        let id = try await TestHost.createUser(connections[0], "a")
        for path in ["/api/users", "/api/graph", "/api/users/stats/overview", "/api/users/\(id)"] {
            #expect(try await connections[0].get(path).cache == "MISS", "\(path)")
            #expect(try await connections[0].get(path).cache == "L1", "\(path)")
            for source in ["L2", "L2", "L1"] {
                #expect(try await connections[1].get(path).cache == source, "\(path): read twice, it is worth keeping")
            }
        }
        let nobody = "/api/users/\(UUID().uuidString.lowercased())"
        #expect(try await connections[0].get(nobody).status == 404)
        let again = try await connections[0].get(nobody)
        #expect(again.status == 404)
        #expect(again.cache == "L1", "that there is no such user is known, too")
    }
}
