import Testing

/// Boundaries inside of modules.
@Suite struct BoundaryTests {
    @Test func `files keep to their side`() throws {
        for file in try PackageFiles.sources() { #expect(Boundary.violations(in: file) == []) }
    }

    @Test func `every exception is needed`() throws {
        #expect(Boundary.superfluous(try PackageFiles.sources()) == [])
    }

    // MARK: The rules notice

    @Test(arguments: [
        ("Sources/IPC/Worker/Reads/A.swift", "import NIOPosix", 1),
        ("Sources/IPC/Worker/Connection/SyncdConnection.swift", "import NIOPosix", 0),
        ("Sources/apiworker/Routes/A.swift", "import NIOPosix\nimport ArgumentParser", 2),
        ("Sources/IPC/Worker/A.swift", "import NIOSSL", 1),
        ("Sources/IPC/Worker/A.swift", "let address: RedisEndpoint", 1),
        ("Sources/IPC/Worker/A.swift", "/// The state of Redis.\nlet mode = LogMode.redis", 0),
        ("Sources/IPC/Worker/Reads/A.swift", "import Logging", 1),
        ("Sources/SyncCore/Log/A.swift", "let words = [\"XADD\", key]", 1),
        ("Sources/SyncCore/Log/A.swift", "let now = ContinuousClock.now", 1),
        ("Sources/IPC/Wire/A.swift", "let now = NIODeadline.now()", 1),
        ("Sources/IPC/Sieve/A.swift", "Task { }", 1),
        ("Sources/IPC/Worker/Connection/AStateMachine+B.swift", "import Synchronization", 1),
        ("Sources/EngineHosting/AStateMachine.swift", "let loop: any EventLoop", 1),
        ("Sources/syncd/Commands/A.swift", "import SyncCore", 1), ("Sources/syncd/A.swift", "import SyncCore", 0),
        ("Sources/apiworker/Users/A.swift", "import NIOCore", 0), ("Sources/apiworker/Users/A.swift", "import IPC", 1),
        ("Sources/apiworker/Users/A.swift", "import CMongoC", 1),
        ("Sources/apiworker/Users/A.swift", "func a(on loop: any EventLoop) {}", 1),
        ("Sources/apiworker/Storage/A.swift", "import IPC", 1),
        ("Sources/apiworker/HTTP/A.swift", "import IPCWire", 1),
        ("Sources/apiworker/Sync/A.swift", "import NIOHTTP1", 1),
        ("Sources/apiworker/Compression/A.swift", "import NIOHTTP1", 1),
        ("Sources/simulate/World/A.swift", "import SyncCore", 1),
    ])
    func `a file on the wrong side`(path: String, text: String, count: Int) {
        #expect(Boundary.violations(in: TextFile(path: path, text: text)).count == count)
    }

    @Test func `the reason is said`() {
        let file = TextFile(path: "Sources/apiworker/Users/A.swift", text: "import IPC")
        #expect(Boundary.violations(in: file).first?.contains("A.swift imports IPC: users, validation") == true)
    }

    @Test func `an exception that no file needs`() {
        let path = "Sources/syncd/Workers/Listener.swift"
        #expect(!Boundary.superfluous([TextFile(path: path, text: "import NIOPosix")]).contains(path))
        #expect(Boundary.superfluous([TextFile(path: path, text: "import NIOCore")]).contains(path))
    }
}
