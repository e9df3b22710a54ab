import Foundation
import TestSupport
import Testing

/// The page at `/ui`, in a real browser, on real workers.
@Suite(.tags(.manyProcesses), .processes) struct PageTests {
    /// syncd, and workers on a port each, so that a page has a separate worker.
    private struct Stage {
        let syncd: SyncdProcess
        let workers: [WorkerProcess]
        let database: String

        static func start(workers count: Int) async throws -> Stage {
            let mongo = try await MongoServer.shared()
            let database = MongoServer.newDatabaseName()
            let syncd = try await SyncdProcess()
            var workers: [WorkerProcess] = []
            for _ in 0..<count {
                workers.append(
                    try await WorkerProcess(
                        port: ReservedPort(), database: mongo.url(database: database), socketPath: syncd.socketPath))
            }
            return Stage(syncd: syncd, workers: workers, database: database)
        }

        func url(_ index: Int) -> String { "http://127.0.0.1:\(workers[index].portNumber)/ui" }
        var transcript: String { syncd.transcript + workers.map(\.transcript).joined() }

        func api() throws -> HTTPConnection { try HTTPConnection(port: workers[0].portNumber) }
    }

    private func waitForText(
        _ browser: Browser, _ selector: String, _ text: String, within limit: Duration = .seconds(15),
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        var seen = ""
        try await eventually(
            "\(selector) shows \"\(text)\"", within: limit, details: { seen }, sourceLocation: sourceLocation
        ) {
            seen = try await browser.text(selector)
            return seen.contains(text)
        }
    }

    private func add(_ browser: Browser, _ name: String, age: String = "33", hobbies: String = "chess") async throws {
        try await browser.fill("#username", name)
        try await browser.fill("#age", age)
        try await browser.fill("#hobbies", hobbies)
        try await browser.click("#save")
    }

    /// Something to look at.
    private func populate(_ stage: Stage) async throws {
        let api = try stage.api()
        let names = [
            "Barbara", "Donald", "Edsger", "Frances", "Grete", "Hedy", "Ida", "Joan", "Kathleen", "Leslie", "Margaret",
            "Niklaus", "Radia", "Shafi", "Tony",
        ]
        var ids: [String] = []
        for name in names { ids.append(try await TestHost.createUser(api, name, hobbies: ["chess", "go"])) }
        for (index, id) in ids.enumerated() {
            for step in [1, 4] where (index + step) % 3 != 0 {
                let friend = ids[(index + step) % ids.count]
                _ = try await api.request("POST", "/api/users/\(id)/link", body: #"{"friendId":"\#(friend)"}"#)
            }
        }
    }

    @Test func `two pages on two workers stay in step, also without syncd`() async throws {
        let stage = try await Stage.start(workers: 2)
        let pictures = ProcessInfo.processInfo.environment["PAGE_SCREENSHOTS"]
        if pictures != nil { try await populate(stage) }
        try await Browser.run { one in
            try await Browser.run { other in
                try await one.open(stage.url(0))
                try await other.open(stage.url(1))
                for page in [one, other] { try await waitForText(page, "#sync", "attached") }
                for worker in stage.workers { try await waitForText(one, "#workers", "worker \(worker.pid)") }
                try await waitForText(other, "#log", "follows events")

                try await add(one, "Ada", hobbies: "chess, go")
                try await waitForText(other, "#nodes", "Ada")
                try await waitForText(one, "#log", "worker \(stage.workers[0].pid): POST /api/users → 201")
                try await waitForText(other, "#log", "worker \(stage.workers[1].pid): user:created")
                try await waitForText(other, "#log", "worker \(stage.workers[1].pid): invalidate")

                try await add(other, "Grace", hobbies: "go")
                try await waitForText(one, "#nodes", "Grace")
                try await one.fill("#find", "Ada")
                try await one.press(["\u{e004}"])
                try await waitForText(one, "#form-title", "Edit user")
                try await one.fill("#friend", "Grace")
                try await one.click("#link")
                try await waitForText(other, "#log", "users:linked")
                try await waitForText(one, "#friends", "Grace")
                let count = pictures == nil ? "2 users, 1 friendship" : "17 users, 21 friendships"
                for page in [one, other] { try await waitForText(page, "#count", count) }
                if let directory = pictures {
                    for (page, name) in [(one, "page-one"), (other, "page-other")] {
                        try await page.screenshot("\(directory)/\(name).png")
                    }
                }

                stage.syncd.kill()
                for page in [one, other] { try await waitForText(page, "#sync", "direct") }
                try await add(other, "Edsger")
                try await waitForText(one, "#nodes", "Edsger")
                try await stage.syncd.restart()
                for page in [one, other] { try await waitForText(page, "#sync", "attached", within: .seconds(30)) }
            }
        }
    }

    @Test func `what the API refuses is shown, and nothing is lost`() async throws {
        let stage = try await Stage.start(workers: 1)
        try await Browser.run { page in
            try await page.open(stage.url(0))
            try await add(page, " ", age: "200")
            try await waitForText(page, "#problem", "Validation Error")
            #expect(
                try await page.run("return document.querySelector('#age').getAttribute('aria-invalid')").string
                    == "true")
            #expect(try await page.run("return document.querySelector('#age').value").string == "200")

            try await add(page, "Ada")
            try await waitForText(page, "#nodes", "Ada")
            try await add(page, "<b>Grace</b>")
            try await waitForText(page, "#nodes", "<b>Grace</b>")
            try await page.fill("#find", "Ada")
            try await page.press(["\u{e004}"])
            try await page.fill("#friend", "<b>Grace</b>")
            try await page.click("#link")
            try await waitForText(page, "#friends", "<b>Grace</b>")
            try await page.click("#remove")
            try await waitForText(page, "#problem", "User cannot be deleted while they have friends")
            try await page.click("#friends button")
            try await waitForText(page, "#count", "2 users, 0 friendships")
            try await page.click("#remove")
            try await waitForText(page, "#count", "1 user,")
        }
    }

    @Test func `users are moved with mouse and keys, and a screen reader knows them`() async throws {
        let stage = try await Stage.start(workers: 1)
        let api = try stage.api()
        let id = try await TestHost.createUser(api, "Ada")
        func position() async throws -> (x: Double, y: Double) {
            let user = try await api.get("/api/users/\(id)").json["position"]
            return (try #require(user["x"].number), try #require(user["y"].number))
        }
        try await Browser.run { page in
            try await page.open(stage.url(0))
            try await waitForText(page, "#nodes", "Ada")
            let node = ".node[data-id='\(id)']"
            let first = try await position()
            try await page.drag(node, x: 60, y: -40)
            try await eventually("it was moved") {
                let now = try await position()
                return now.x > first.x + 5 && now.y < first.y - 5
            }
            let second = try await position()
            try await page.run("document.querySelector(`\(node)`).focus()")
            try await page.press(["\u{e014}", "\u{e014}"], holding: "\u{e008}")
            try await eventually("it was moved by keys") { abs(try await position().x - second.x - 20) < 0.2 }
            let (role, name) = try await page.accessible(node)
            #expect(role == "button")
            #expect(name == "Ada, age 30, score 0, 0 friends")
            #expect(try await page.accessible("#log").role == "log")
            try await page.press(["\u{e007}"])
            try await waitForText(page, "#form-title", "Edit user")
            #expect(try await page.run("return document.activeElement.id").string == "username")
            // Every control has a name.
            let nameless = """
                return [...document.querySelectorAll('button, input')].filter(e => !e.hidden && !e.closest('[hidden]')
                  && !e.textContent.trim() && !e.ariaLabel && !e.labels?.length).map(e => e.id).join()
                """
            #expect(try await page.run(nameless).string == "")
        }
    }

    private static func document(_ number: Int) -> BSONValue {
        let id = "00000000-0000-4000-8000-00000000\(1000 + number)"
        let position: BSONDocument = ["x": .double(Double(number % 45) * 9), "y": .double(Double(number / 45) * 9)]
        return .document([
            "_id": .string(id), "username": .string("User \(number)"), "age": 30, "hobbies": ["chess"], "friends": [],
            "createdAt": .date(1_700_000_000_000 + Int64(number)), "position": .document(position),
        ])
    }

    @Test func `two thousand users, a phone's width, and both colour schemes`() async throws {
        let stage = try await Stage.start(workers: 1)
        let mongo = try await MongoServer.shared()
        let connection = try stage.api()
        let first = try await TestHost.createUser(connection, "First")
        let users = (1..<2000).map { Self.document($0) }
        try await mongo.command(["insert": "users", "documents": .array(users)], database: stage.database)
        // As any program that writes past the API has to.
        let socket = try await stage.syncd.connect()
        _ = try await socket.command("INVALIDATE", "users")
        try await Browser.run(width: 390, height: 844) { page in
            try await page.open(stage.url(0))
            try await waitForText(page, "#count", "2000 users", within: .seconds(30))
            #expect(try await page.run("return document.querySelectorAll('.node').length").number == 2000)
            let overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
            #expect(try await page.run(overflow).number == 0, "nothing is wider than the phone")
            let ground = "return getComputedStyle(document.body).backgroundColor"
            try await page.use(colourScheme: "light")
            let light = try await page.run(ground).string
            try await page.use(colourScheme: "dark")
            #expect(try await page.run(ground).string != light)
            if let directory = ProcessInfo.processInfo.environment["PAGE_SCREENSHOTS"] {
                try await page.screenshot("\(directory)/page-phone.png")
            }
            // One change is one change.
            _ = try await connection.request("PUT", "/api/users/\(first)", body: #"{"username":"Renamed"}"#)
            try await waitForText(page, "#nodes", "Renamed")
        }
    }

    @Test func `the page may do what it does and nothing else`() async throws {
        let stage = try await Stage.start(workers: 1)
        let reply = try await stage.api().get("/ui")
        #expect(reply.status == 200)
        #expect(reply["content-type"] == "text/html; charset=utf-8")
        #expect(reply["content-security-policy"]?.hasPrefix("default-src 'none'") == true)
        #expect(reply["cache-control"] == "no-cache")
        let addresses = reply.text.matches(of: /(?:src|href)=|https?:/).filter { !$0.output.isEmpty }
        // The namespace of SVG is a name.
        #expect(addresses.count == 1 && reply.text.contains("http://www.w3.org/2000/svg"))
        let host = try await stage.api().get("/ui/host").json
        #expect(host.names == ["audit", "sync", "workers"])
        let again = try await stage.api().request("GET", "/ui", headers: [("If-None-Match", reply["etag"] ?? "")])
        #expect(again.status == 304)
    }
}
