import Foundation

/// A rule inside of modules: files in a place do not import or name something. The table of modules says what targets
/// may import, and ``Imports/confined`` which folder has a library to itself.
struct Boundary: Sendable {
    /// The beginning of the paths, or for all files of a kind a part of their names.
    var place: String
    var imports: Set<String> = []
    /// Texts that do not occur in the code, comments left out.
    var words: [String] = []
    /// Files and folders in that place which may.
    var except: [String] = []
    var reason: String

    static let all = [
        Boundary(
            place: "Sources/", imports: ["NIOPosix"],
            except: [
                "Sources/IPC/Worker/Connection/SyncdClient.swift",
                "Sources/IPC/Worker/Connection/SyncdConnection.swift",
                "Sources/IPCTesting/ScriptedConnection.swift", "Sources/IPCTesting/ScriptedSyncd.swift",
                "Sources/ClientCheck/CheckedClient.swift",
                "Sources/syncd/Doctor/DoctorLoop.swift",
                "Sources/syncd/Redis/ConnectionLoss.swift", "Sources/syncd/Redis/RedisConnection.swift",
                "Sources/syncd/Redis/RedisConnector.swift", "Sources/syncd/System/DaemonProcess.swift",
                "Sources/syncd/Workers/Listener.swift",
                "Sources/apiworker/Compression/CompressedBodies.swift", "Sources/apiworker/HTTP/HTTPServer.swift",
                "Sources/apiworker/Storage/ChangeStream.swift", "Sources/apiworker/Storage/LateWrites.swift",
                "Sources/apiworker/Storage/MongoOperations.swift",
                "Sources/apiworker/Worker.swift",
            ],
            reason: "only the files that open connections, listen or make threads know sockets and threads; the others "
                + "are given an event loop or a channel, which tests and the simulator replace"),
        Boundary(
            place: "Sources/", imports: ["ArgumentParser"],
            except: [
                "Sources/syncd/Commands/", "Sources/apiworker/APIWorkerCommand.swift",
                "Sources/simulate/SimulateCommand.swift", "Sources/simulate/Driver/Campaign.swift",
            ],
            reason: "only commands read the command line; the others are given values"),
        Boundary(
            place: "Sources/IPC/", imports: ["NIOSSL", "NIOTLS", "NIOHTTP1"], words: ["Redis"],
            reason: "workers know syncd's socket and nothing behind it: of Redis only whether syncd uses it (`.redis`)"),
        Boundary(
            place: "Sources/IPC/Worker/", imports: ["Logging"],
            except: ["Sources/IPC/Worker/SyncedCache.swift", "Sources/IPC/Worker/Connection/"],
            reason: "the library logs its connection only; all else is a result or a figure"),
        Boundary(
            place: "Sources/SyncCore/", words: ["\"XADD", "\"XRANGE", "\"EVALSHA", "\"SCRIPT", "\"HGET", "\"INFO\""],
            reason: "the engine knows no command of Redis: syncd/Redis translates, and the simulator has a model"),
        Boundary(place: "Sources/SyncCore/", words: clocks, reason: timeIsGiven),
        Boundary(place: "Sources/IPC/Wire/", words: clocks, reason: timeIsGiven),
        Boundary(place: "Sources/IPC/Sieve/", words: clocks, reason: timeIsGiven),
        Boundary(
            place: "StateMachine", imports: ["NIOPosix", "Logging", "Glibc", "Synchronization"],
            words: clocks + ["EventLoop", "await "],
            reason: "a state machine is given events and the time, and returns actions; its host carries them out"),
        Boundary(
            place: "Sources/syncd/Commands/", imports: ["SyncCore", "EngineHosting", "NIOSSL"],
            reason: "commands ask the daemon over its socket, like every client, and know nothing of its engine"),
        Boundary(
            place: "Sources/apiworker/Users/",
            imports: [
                "NIOPosix", "NIOHTTP1", "IPC", "IPCWire", "Sieve", "CCrypto", "CMongoC", "CZlib", "ProcessSupport",
                "ServiceLifecycle", "Logging", "Glibc", "Synchronization",
            ],
            words: clocks + ["EventLoop", "Channel", "await "],
            reason: "users, validation, graph and statistics are pure functions of values; NIOCore is there for bytes"),
        Boundary(
            place: "Sources/apiworker/Storage/", imports: ["IPC", "IPCWire", "NIOHTTP1"],
            reason: "the database knows neither caches nor HTTP: Sync/ connects it with caches, Routes/ with HTTP"),
        Boundary(
            place: "Sources/apiworker/HTTP/", imports: ["IPC", "IPCWire"],
            reason: "the server transports requests and knows no cache: Routes/ and Sync/ answer them"),
        Boundary(
            place: "Sources/apiworker/Sync/", imports: ["NIOHTTP1"],
            reason: "keys, tags and invalidations do not depend on the transport of a request"),
        Boundary(
            place: "Sources/apiworker/Compression/", imports: ["IPC", "IPCWire", "NIOHTTP1"],
            reason: "compression maps bytes to bytes"),
        Boundary(
            place: "Sources/simulate/World/", imports: ["SyncCore", "EngineHosting", "IPC", "NIOCore"],
            reason: "a world has time, events and chance, and knows nothing of what is simulated in it"),
    ]

    private static let clocks = [
        "ContinuousClock", "SuspendingClock", "NIODeadline.now", " Date(", "clock_gettime", "Task.sleep", "Task {",
    ]
    private static let timeIsGiven = "the time is an argument: tests and the simulator decide it"

    private func applies(to path: String) -> Bool {
        path.hasPrefix(place) || (!place.contains("/") && path.contains(place))
    }

    /// Names and imports in the file that the rule forbids here, whether it is an exception or not.
    private func findings(in file: TextFile) -> [String] {
        let named = words.filter { word in
            file.lines.contains { $0.contains(word) && !$0.drop { $0 == " " }.hasPrefix("//") }
        }
        return imports.intersection(Imports.modules(in: file.text)).sorted().map { "imports \($0)" }
            + named.map { "names \($0)" }
    }

    /// Violations in one file, each with the reason of its rule.
    static func violations(in file: TextFile) -> [String] {
        all.filter { rule in rule.applies(to: file.path) && !rule.except.contains { file.path.hasPrefix($0) } }
            .flatMap { rule in rule.findings(in: file).map { "\(file.path) \($0): \(rule.reason)" } }
    }

    /// Exceptions that no file needs, and places without a file.
    static func superfluous(_ files: [TextFile]) -> [String] {
        all.flatMap { rule in
            let here = files.filter { rule.applies(to: $0.path) }
            let unneeded = rule.except.filter { path in
                !here.contains { $0.path.hasPrefix(path) && !rule.findings(in: $0).isEmpty }
            }
            return unneeded + (here.isEmpty ? [rule.place] : [])
        }
    }
}
