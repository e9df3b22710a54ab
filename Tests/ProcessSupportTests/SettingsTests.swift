import TestSupport
import Testing

@testable import ProcessSupport

@Suite struct SettingsTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private func settings(_ file: String) throws -> Settings {
        try Settings(
            commandLine: [:], configFile: try directory.write(file, to: "config"), environment: ["PTR": "1"],
            workingDirectory: directory.path)
    }

    @Test(arguments: ["REDIS_ENABLE", "redis_enabled", "PTR", "LOG_LEVEL_FILE", "SYNCD_LIMITS_CLIENTS"])
    func `a key that there isn't is named, its value is not`(key: String) {
        let error = #expect(throws: ConfigurationError.self) { try settings("PORT=1\n\(key)=hidden\n") }
        #expect(error?.key == key)
        #expect(error?.description.contains("/config: ") == true && error?.description.contains("hidden") == false)
    }

    @Test func `one file for both programs and the units`() throws {
        let settings = try settings("PORT=1\nREDIS_ENABLED=yes\nWORKERS=2\nDB_URL_FILE=/x\nSYNCD_LIMIT_CLIENTS=3\n")
        #expect(try settings.string(ConfigurationKey("PORT", help: "")) == "1")
    }

    @Test func `an error about a value from a file begins with the file`() throws {
        try directory.write("PORT=x\n", to: ".env")
        let port = ConfigurationKey("PORT", help: "")
        let settings = try settings("HOST=::\n")
        let error = #expect(throws: ConfigurationError.self) { try settings.integer(port, in: 1...2) }
        #expect(error.map(settings.located)?.hasPrefix(".env: PORT: \"x\" is not usable") == true)
        let given = try Settings(commandLine: ["PORT": "x"], configFile: nil, workingDirectory: directory.path)
        #expect(error.map(given.located)?.hasPrefix("PORT: ") == true)
    }

    @Test func `a .env belongs to other programs, too`() throws {
        try directory.write("NODE_ENV=production\nPORT=7\n", to: ".env")
        #expect(try settings("HOST=::\n").string(ConfigurationKey("PORT", help: "")) == "7")
    }
}
