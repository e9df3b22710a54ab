// swift-tools-version: 6.2
import PackageDescription

/// The rules of every target: Swift 6 language mode, no warning. `MUTANTS` compiles in the rules that the simulator can
/// break (scripts/mutants).
let strict: [SwiftSetting] =
    [.treatAllWarnings(as: .error)] + (Context.environment["SYNCD_MUTANTS"] == nil ? [] : [.define("MUTANTS")])

/// `SYNCD_BENCH` adds the programs of Benchmarks/, which nothing else needs (scripts/bench).
let isBenchmarking = Context.environment["SYNCD_BENCH"] != nil

let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let nioTLS: Target.Dependency = .product(name: "NIOTLS", package: "swift-nio")
let nioSSL: Target.Dependency = .product(name: "NIOSSL", package: "swift-nio-ssl")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let deque: Target.Dependency = .product(name: "DequeModule", package: "swift-collections")
let heap: Target.Dependency = .product(name: "HeapModule", package: "swift-collections")
let lifecycle: Target.Dependency = .product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let unixSignals: Target.Dependency = .product(name: "UnixSignals", package: "swift-service-lifecycle")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
    name: "syncd",
    products: [
        .library(name: "IPC", targets: ["IPC", "IPCWire"]),
        .library(name: "IPCTesting", targets: ["IPCTesting"]),
        .executable(name: "syncd", targets: ["syncd"]),
        .executable(name: "apiworker", targets: ["apiworker"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.3.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.6.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.9.0"),
    ] + (isBenchmarking ? [.package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0")] : []),
    targets: [
        // `pkgConfig` stays off CHiredis: its flags cause a warning on every build.
        .systemLibrary(name: "CHiredis", providers: [.apt(["libhiredis-dev"])]),
        .systemLibrary(name: "CMalloc"),
        // OpenSSL's library, which libmongoc needs.
        .systemLibrary(name: "CCrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CZlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CMongoC", pkgConfig: "libmongoc-1.0", providers: [.apt(["libmongoc-dev"])]),

        .target(name: "Notation", swiftSettings: strict),
        .target(name: "IPCWire", dependencies: ["Notation", nioCore], path: "Sources/IPC/Wire", swiftSettings: strict),
        .target(name: "Sieve", path: "Sources/IPC/Sieve", swiftSettings: strict),
        .target(
            name: "IPC",
            dependencies: ["IPCWire", "Sieve", nioCore, nioPosix, logging, deque],
            path: "Sources/IPC/Worker",
            swiftSettings: strict
        ),
        .target(
            name: "IPCTesting", dependencies: ["IPC", "IPCWire", nioCore, nioPosix, logging], swiftSettings: strict),
        .target(
            name: "ClientCheck", dependencies: ["IPC", "IPCTesting", "IPCWire", nioCore, nioPosix],
            swiftSettings: strict),
        .target(name: "SyncCore", dependencies: ["IPCWire", "Notation", "Sieve", nioCore, deque, heap], swiftSettings: strict),
        .target(name: "EngineHosting", dependencies: ["SyncCore", "IPC", nioCore, deque], swiftSettings: strict),
        .target(name: "EngineTesting", dependencies: ["SyncCore", "IPCWire", nioCore], swiftSettings: strict),
        .target(
            name: "ProcessSupport",
            dependencies: ["CMalloc", "Notation", logging, nioCore, unixSignals],
            swiftSettings: strict
        ),
        .executableTarget(
            name: "syncd",
            dependencies: [
                "SyncCore", "EngineHosting", "IPC", "ClientCheck", "CHiredis", "Notation", "ProcessSupport",
                nioCore, nioPosix, nioTLS, nioSSL, logging,
                deque,
                arguments,
            ],
            swiftSettings: strict
        ),
        .executableTarget(
            name: "apiworker",
            dependencies: [
                "IPC", "Sieve", "CCrypto", "CMongoC", "CZlib", "Notation", "ProcessSupport", nioCore, nioPosix, logging, lifecycle, arguments,
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ],
            resources: [.embedInCode("Page/ui.html"), .embedInCode("Page/openapi.json")],
            swiftSettings: strict
        ),

        .executableTarget(
            name: "simulate",
            dependencies: [
                "SyncCore", "EngineHosting", "EngineTesting", "IPC", "IPCTesting", "IPCWire", nioCore, logging, heap, arguments,
                .product(name: "NIOEmbedded", package: "swift-nio"),
            ],
            swiftSettings: strict
        ),

        .target(
            name: "TestSupport",
            dependencies: ["IPCWire", nioCore, nioPosix],
            path: "Tests/Support",
            // Files for tests only; the benchmarks are linked without Swift Testing.
            exclude: isBenchmarking ? ["Eventually.swift", "ProcessSlots.swift", "Tags.swift"] : [],
            swiftSettings: strict
        ),
        .testTarget(
            name: "IPCWireTests", dependencies: ["IPCTesting", "IPCWire", "CHiredis", nioCore], swiftSettings: strict),
        .testTarget(
            name: "IPCTests", dependencies: ["IPC", "IPCTesting", "Sieve", "TestSupport", nioCore, nioPosix],
            swiftSettings: strict),
        .testTarget(
            name: "SyncCoreTests", dependencies: ["SyncCore", "EngineTesting", "IPCTesting", "TestSupport", nioCore],
            swiftSettings: strict),
        .testTarget(
            name: "ProcessSupportTests",
            dependencies: ["ProcessSupport", "TestSupport", nioCore, nioPosix, logging],
            swiftSettings: strict),
        .testTarget(
            name: "SyncdTests",
            dependencies: [
                "syncd", "Notation", "SyncCore", "EngineHosting", "TestSupport", nioCore, nioPosix,
                .product(name: "NIOEmbedded", package: "swift-nio"),
            ],
            swiftSettings: strict),
        .testTarget(
            name: "SimulateTests",
            dependencies: [
                "simulate", "syncd", "SyncCore", "EngineTesting", "IPC", "IPCTesting", "TestSupport", nioCore, nioPosix, logging,
            ],
            swiftSettings: strict),
        .testTarget(
            name: "APIWorkerTests",
            dependencies: [
                "apiworker", "CMongoC", "CZlib", "IPC", "Notation", "ProcessSupport", "TestSupport", nioCore, nioPosix, logging,
                lifecycle,
            ],
            swiftSettings: strict),
        .testTarget(
            name: "IntegrationTests",
            dependencies: [
                "IPC", "IPCTesting", "ProcessSupport", "TestSupport", "syncd", "apiworker", nioCore, nioPosix, logging,
            ],
            swiftSettings: strict
        ),
        .testTarget(
            name: "ClientTests",
            dependencies: ["IPC", "ClientCheck", "TestSupport", "syncd", nioCore, nioPosix, logging, deque],
            swiftSettings: strict
        ),
        .testTarget(
            name: "SystemdTests", dependencies: ["TestSupport"], exclude: ["load.py"], swiftSettings: strict),
        // The targets of `make fuzz`, on the known inputs.
        .testTarget(
            name: "FuzzTests",
            dependencies: ["syncd", "apiworker", "Notation", "ProcessSupport", "SyncCore", "EngineHosting", "IPC", "IPCWire", nioCore],
            path: "Fuzz", exclude: ["CLibFuzzer", "Driver", "corpus", "dictionaries"], sources: ["Targets", "Replay"],
            swiftSettings: strict),
        .testTarget(
            name: "ArchitectureTests",
            dependencies: ["TestSupport", "ProcessSupport", "SyncCore", "syncd", "apiworker"],
            swiftSettings: strict),
    ] + (isBenchmarking ? benchmarks : [])
)

/// The programs in Benchmarks/ (docs/performance.md).
var benchmarks: [Target] {
    [
        .target(name: "Least", path: "Benchmarks/Least", linkerSettings: [.linkedLibrary("hiredis")]),
        .executableTarget(
            name: "bench",
            dependencies: [
                "CMongoC", "IPC", "IPCWire", "Least", "Sieve", "TestSupport", nioCore, nioPosix, logging, arguments,
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "Histogram", package: "hdrhistogram-swift"),
            ],
            path: "Benchmarks/Bench",
            swiftSettings: strict
        ),
        .executableTarget(
            name: "costs", dependencies: ["EngineTesting", "IPC", "IPCWire", "SyncCore", nioCore],
            path: "Benchmarks/Costs", swiftSettings: strict),
    ]
}

// `SYNCD_FUZZ`: the fuzzer in place of programs and tests (scripts/fuzz), with the parts of the programs that it
// fuzzes. Only code of this package can use their internal declarations.
if Context.environment["SYNCD_FUZZ"] != nil {
    package.products = []
    package.targets.removeAll { $0.type == .executable || $0.type == .test || $0.name == "TestSupport" }
    package.targets += [
        .target(
            name: "syncd",
            dependencies: ["SyncCore", "IPC", "Notation", nioCore],
            sources: [
                "BridgeRules+Text.swift", "Redis/LogEntryBody+Coding.swift",
                "Redis/RedisEndpoint.swift", "Redis/RedisEndpoint+Parameters.swift",
                "Redis/ClusterSeeds.swift", "Redis/SentinelGroup.swift", "Redis/ServerAddress.swift",
                "Redis/ServerInfo.swift", "Redis/InfoFields.swift",
            ],
            swiftSettings: strict
        ),
        .target(
            name: "apiworker",
            dependencies: ["CCrypto", "Notation", nioCore],
            sources: [
                "Compression/AcceptEncoding.swift", "HTTP/EntityTag.swift", "HTTP/QueryParameters.swift",
                "Storage/BSON.swift", "Storage/BSON+Coding.swift", "Storage/SearchPattern.swift",
                "Storage/StoredUser.swift", "Storage/UserDocument.swift", "Users",
            ],
            swiftSettings: strict
        ),
        .target(name: "CLibFuzzer", path: "Fuzz/CLibFuzzer"),
        .executableTarget(
            name: "fuzz",
            dependencies: ["CLibFuzzer", "syncd", "apiworker", "Notation", "ProcessSupport", "SyncCore", "EngineHosting", "IPC", "IPCWire", nioCore],
            path: "Fuzz", exclude: ["CLibFuzzer", "Replay", "corpus", "dictionaries"], sources: ["Targets", "Driver"],
            swiftSettings: strict
        ),
    ]
}
