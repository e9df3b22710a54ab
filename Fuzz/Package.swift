// swift-tools-version: 6.2
import PackageDescription

/// The fuzzer is a package of its own: its instrumentation has no place in an ordinary build. `scripts/fuzz` builds
/// and runs it.
let package = Package(
    name: "fuzz",
    dependencies: [.package(name: "syncd", path: "..")],
    targets: [
        .target(name: "CLibFuzzer"),
        .executableTarget(
            name: "FuzzWire", dependencies: ["CLibFuzzer", .product(name: "IPC", package: "syncd")]),
    ]
)
