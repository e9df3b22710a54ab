import Foundation
import TestSupport
import Testing

/// A headless Chromium with one page, driven as WebDriver has it (https://www.w3.org/TR/webdriver2/).
final class Browser: Sendable {
    private let driver: ChildProcess
    private let connection: HTTPConnection
    private let session: String
    private let profile: TemporaryDirectory

    private init(driver: ChildProcess, connection: HTTPConnection, session: String, profile: TemporaryDirectory) {
        self.driver = driver
        self.connection = connection
        self.session = session
        self.profile = profile
    }

    /// Runs a test with a browser, which is gone afterwards.
    static func run(width: Int = 1200, height: Int = 800, _ body: (Browser) async throws -> Void) async throws {
        let browser = try await start(width: width, height: height)
        do {
            try await body(browser)
        } catch {
            await browser.quit()
            throw error
        }
        await browser.quit()
    }

    private static func start(width: Int, height: Int) async throws -> Browser {
        let port = try ReservedPort()
        let profile = try TemporaryDirectory()
        let driver = try ChildProcess(
            "/usr/bin/chromedriver", ["--port=\(port.number)"],
            environment: ["HOME": profile.path, "TMPDIR": profile.path])
        await eventually("chromedriver listens", within: .seconds(30), details: { driver.transcript }) {
            driver.output.contains("started successfully")
        }
        let connection = try HTTPConnection(port: port.number)
        let flags = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--user-data-dir=\(profile.path)/profile", "--window-size=\(width),\(height)",
        ]
        let options = flags.map { "\"\($0)\"" }.joined(separator: ",")
        let reply = try await connection.request(
            "POST", "/session",
            body: #"{"capabilities":{"alwaysMatch":{"goog:chromeOptions":{"args":[\#(options)]}}}}"#,
            within: .seconds(60))
        guard let session = reply.json["value"]["sessionId"].string else {
            throw TestFailure("no browser: \(reply.text)\n\(driver.transcript)")
        }
        return Browser(driver: driver, connection: connection, session: session, profile: profile)
    }

    private func quit() async {
        _ = try? await connection.request("DELETE", "/session/\(session)", within: .seconds(20))
        driver.kill()
    }

    @discardableResult
    private func command(_ name: String, _ body: [String: Any] = [:]) async throws -> JSON {
        let data = try JSONSerialization.data(withJSONObject: body)
        let reply = try await connection.request(
            "POST", "/session/\(session)/\(name)", body: String(decoding: data, as: UTF8.self), within: .seconds(60))
        guard reply.status == 200 else { throw TestFailure("\(name): \(reply.text)") }
        return reply.json["value"]
    }

    func open(_ url: String) async throws { try await command("url", ["url": url]) }

    /// Runs JavaScript in the page and returns what it returns.
    @discardableResult
    func run(_ script: String) async throws -> JSON {
        try await command("execute/sync", ["script": script, "args": [String]()])
    }

    /// The text of the elements that a CSS selector finds, one line each.
    func text(_ selector: String) async throws -> String {
        try await run("return [...document.querySelectorAll('\(selector)')].map(e => e.textContent).join('\\n')").string
            ?? ""
    }

    private func element(_ selector: String) async throws -> String {
        let found = try await command("element", ["using": "css selector", "value": selector])
        guard let id = found.names?.first.flatMap({ found[$0].string }) else { throw TestFailure("no \(selector)") }
        return id
    }

    /// Does something with an element. The page may draw it anew after it was found: then it is found again.
    private func with(_ selector: String, _ body: (String) async throws -> Void) async throws {
        for _ in 0..<10 {
            do {
                return try await body(try await element(selector))
            } catch  where "\(error)".contains("stale element reference") {
                continue
            }
        }
        try await body(try await element(selector))
    }

    func click(_ selector: String) async throws {
        try await with(selector) { id in try await command("element/\(id)/click") }
    }

    /// Types into a field, in place of what is in it.
    func fill(_ selector: String, _ text: String) async throws {
        try await with(selector) { id in
            try await command("element/\(id)/clear")
            try await command("element/\(id)/value", ["text": text])
        }
    }

    /// Presses keys where the focus is; `held` stays down meanwhile. Codes are those of WebDriver.
    func press(_ keys: [String], holding held: String? = nil) async throws {
        var actions: [[String: String]] = []
        if let held { actions.append(["type": "keyDown", "value": held]) }
        for key in keys { actions += [["type": "keyDown", "value": key], ["type": "keyUp", "value": key]] }
        if let held { actions.append(["type": "keyUp", "value": held]) }
        try await command("actions", ["actions": [["type": "key", "id": "keys", "actions": actions]]])
    }

    /// Drags an element with the mouse, by `x` and `y` pixels.
    func drag(_ selector: String, x: Int, y: Int) async throws {
        let origin = ["element-6066-11e4-a52e-4f735466cecf": try await element(selector)]
        let actions: [[String: Any]] = [
            ["type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": origin],
            ["type": "pointerDown", "button": 0],
            ["type": "pointerMove", "duration": 100, "x": x / 2, "y": y / 2, "origin": "pointer"],
            ["type": "pointerMove", "duration": 100, "x": x - x / 2, "y": y - y / 2, "origin": "pointer"],
            ["type": "pointerUp", "button": 0],
        ]
        try await command("actions", ["actions": [["type": "pointer", "id": "mouse", "actions": actions]]])
    }

    /// The accessible role and name of an element.
    func accessible(_ selector: String) async throws -> (role: String, name: String) {
        let path = "/session/\(session)/element/\(try await element(selector))"
        let role = try await connection.get(path + "/computedrole").json["value"].string ?? ""
        return (role, try await connection.get(path + "/computedlabel").json["value"].string ?? "")
    }

    func use(colourScheme: String) async throws {
        try await command(
            "goog/cdp/execute",
            [
                "cmd": "Emulation.setEmulatedMedia",
                "params": ["features": [["name": "prefers-color-scheme", "value": colourScheme]]],
            ])
    }

    /// Writes what is to be seen into a PNG file.
    func screenshot(_ path: String) async throws {
        let text = try await connection.get("/session/\(session)/screenshot").json["value"].string ?? ""
        try Data(base64Encoded: text)?.write(to: URL(fileURLWithPath: path))
    }
}
