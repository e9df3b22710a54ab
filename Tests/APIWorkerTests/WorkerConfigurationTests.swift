import ProcessSupport
import TestSupport
import Testing

@testable import apiworker

@Suite struct WorkerConfigurationTests {
    private func read(_ environment: [String: String]) throws -> WorkerConfiguration {
        let environment = environment.merging(["DB_URL": "mongodb://h"]) { given, _ in given }
        return try WorkerConfiguration.read(
            Settings(commandLine: [:], configFile: nil, environment: environment, workingDirectory: "/nowhere"),
            sockets: InheritedSockets(environment: [:]))
    }

    @Test func `defaults`() throws {
        let configuration = try read([:])
        #expect(configuration.address == .host("0.0.0.0", port: 3001))
        #expect(configuration.databaseURL == "mongodb://h")
        #expect(configuration.origins == [])
        #expect(configuration.socketPath == "/run/syncd/syncd.sock")
        #expect(configuration.l1Bytes == 64 << 20)
        #expect(configuration.hosts == [] && configuration.idleSeconds == 75)
        #expect(configuration.auditOneIn == 1000 && configuration.graceSeconds == 0 && configuration.gzipBytes == 0)
        #expect(configuration.followsChanges)
    }

    @Test func `every key`() throws {
        let configuration = try read([
            "PORT": "0", "HOST": "::1", "DB_URL": "mongodb://other/db", "SYNCD_SOCKET": "/s", "WORKER_L1_BYTES": "0",
            "FRONTEND_ORIGIN_URL": "https://a.example", "WORKER_AUDIT_ONE_IN": "0",
            "WORKER_GRACE_SECONDS": "60", "WORKER_GZIP_BYTES": "1048576", "WORKER_IDLE_SECONDS": "1",
            "WORKER_HOSTS": "API.example, 10.0.0.1,,[::1]", "WORKER_CHANGE_FEED": "no",
        ])
        #expect(configuration.idleSeconds == 1 && configuration.hosts == ["api.example", "10.0.0.1", "[::1]"])
        #expect(configuration.auditOneIn == 0 && configuration.graceSeconds == 60)
        #expect(configuration.gzipBytes == 1 << 20 && !configuration.followsChanges)
        #expect(configuration.address == .host("::1", port: 0))
        #expect(configuration.databaseURL == "mongodb://other/db")
        #expect(configuration.origins == ["https://a.example"])
        #expect(configuration.socketPath == "/s" && configuration.l1Bytes == 0)
        #expect(try read(["PORT": "65535", "WORKER_L1_BYTES": "1099511627776"]).l1Bytes == 1 << 40)
        #expect(try read(["PORT": ""]).address == .host("0.0.0.0", port: 3001))
        #expect(try read(["HOST": ""]).address == .host("0.0.0.0", port: 3001))
        #expect(try read(["SYNCD_SOCKET": ""]).socketPath == nil, "no syncd")
    }

    @Test(arguments: [
        ["PORT": "65536"], ["PORT": "-1"], ["PORT": "http"], ["PORT": " 80"], ["PORT": "+80"], ["PORT": "80.0"],
        ["WORKER_L1_BYTES": "-1"], ["WORKER_L1_BYTES": "64M"], ["WORKER_L1_BYTES": "1099511627777"],
        ["WORKER_L1_BYTES": "99999999999999999999"], ["WORKER_AUDIT_ONE_IN": "-1"], ["WORKER_GRACE_SECONDS": "86401"],
        ["WORKER_AUDIT_ONE_IN": "1/1000"], ["WORKER_IDLE_SECONDS": "0"], ["WORKER_IDLE_SECONDS": "86401"],
        ["WORKER_HOSTS": "a.example:3001"], ["WORKER_HOSTS": "https://a.example"], ["WORKER_HOSTS": "a b"],
        ["WORKER_HOSTS": "::1"], ["WORKER_CHANGE_FEED": "maybe"],
        ["DB_URL": ""],
        ["SYNCD_SOCKET": "/" + String(repeating: "a", count: 103)],
        ["SYNCD_SOCKET": "run/syncd.sock"], ["SYNCD_SOCKET": "@syncd"],
        ["FRONTEND_ORIGIN_URL": "a.example"], ["FRONTEND_ORIGIN_URL": "*"],
        ["FRONTEND_ORIGIN_URL": "https://a.example/x"],
        ["FRONTEND_ORIGIN_URL": "https://A.example"], ["FRONTEND_ORIGIN_URL": "https://a.example,ftp://b"],
        ["FRONTEND_ORIGIN_URL": "https://"], ["FRONTEND_ORIGIN_URL": "https://u:p@a.example"],
        ["FRONTEND_ORIGIN_URL": "https://a.example?x"], ["FRONTEND_ORIGIN_URL": "https://a b"],
        ["FRONTEND_ORIGIN_URL": "HTTPS://a.example"], ["FRONTEND_ORIGIN_URL": "null"],
    ])
    func `a value that can't be used names its key`(environment: [String: String]) throws {
        let key = try #require(environment.keys.first)
        let error = #expect(throws: ConfigurationError.self) { try read(environment) }
        #expect(error?.key == key && error?.description.contains(key) == true)
    }

    /// A browser leaves out the port that is the scheme's default.
    @Test func `an origin with its default port`() throws {
        let given = "https://a.example:443,http://b.example:80/,https://c.example:80,http://d.example:443"
        #expect(
            try read(["FRONTEND_ORIGIN_URL": given]).origins == [
                "https://a.example", "http://b.example", "https://c.example:80", "http://d.example:443",
            ])
    }

    @Test func `DB_URL has to be there, and is never shown`() throws {
        let error = #expect(throws: ConfigurationError.self) {
            try WorkerConfiguration.read(
                Settings(commandLine: [:], configFile: nil, environment: [:], workingDirectory: "/nowhere"),
                sockets: InheritedSockets(environment: [:]))
        }
        #expect(error?.key == "DB_URL" && error?.description.contains("DB_URL_FILE") == true)
        #expect(ConfigurationKey.databaseURL.isSecret)
        let shown = ConfigurationError(
            ConfigurationKey.databaseURL, value: "mongodb://u:hidden@h", problem: "is wrong", remedy: "mend it")
        #expect(!shown.description.contains("hidden"))
    }

    @Test func `DB_URL from a file`() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write("mongodb://file/db\n", to: "url")
        let settings = try Settings(
            commandLine: [:], configFile: nil, environment: ["DB_URL_FILE": path], workingDirectory: "/nowhere")
        let configuration = try WorkerConfiguration.read(settings, sockets: InheritedSockets(environment: [:]))
        #expect(configuration.databaseURL == "mongodb://file/db")
    }

    @Test func `103 bytes are a path`() throws {
        let longest = "/" + String(repeating: "a", count: 102)
        #expect(try read(["SYNCD_SOCKET": longest]).socketPath == longest)
    }

    @Test(
        arguments: [
            ("https://a.example", ["https://a.example"]),
            (" https://a.example/ , http://localhost:5173,", ["https://a.example", "http://localhost:5173"]),
            ("http://[::1]:80,http://[::1]:8080", ["http://[::1]", "http://[::1]:8080"]), (" , ", []),
        ] as [(String, Set<String>)])
    func `origins`(text: String, origins: Set<String>) throws {
        #expect(try read(["FRONTEND_ORIGIN_URL": text]).origins == origins)
    }

    @Test func `the help names every key, and each has an option`() {
        let help = APIWorkerCommand.helpMessage(columns: 400)
        for key in ConfigurationKey.workerKeys {
            #expect(help.contains("\(key.name): "))
            #expect(help.contains("\(key.option) <"), "\(key.option)")
        }
    }
}
