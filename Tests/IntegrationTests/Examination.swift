import Foundation
import TestSupport
import Testing

/// A node of a cluster. Its bus has a separate port.
struct ClusterNode {
    let server: RedisServer
    private let bus: ReservedPort

    init(_ options: [String] = []) async throws {
        bus = try ReservedPort()
        server = try await RedisServer(["--cluster-enabled", "yes", "--cluster-port", "\(bus.number)"] + options)
    }

    func serve(_ slots: ClosedRange<Int>) async throws {
        try await server.command("CLUSTER", "ADDSLOTSRANGE", "\(slots.lowerBound)", "\(slots.upperBound)")
    }

    func meet(_ other: ClusterNode) async throws {
        try await server.command(
            "CLUSTER", "MEET", "127.0.0.1", "\(other.server.portNumber)", "\(other.bus.number)")
    }

    func waitUntilWhole() async throws {
        try await eventually("the cluster is up", details: { server.log }) {
            try await server.command("CLUSTER", "INFO").string?.contains("cluster_state:ok") == true
        }
    }
}

/// A run of `syncd doctor --json`.
struct Examination: CustomStringConvertible {
    struct Finding {
        var verdict: String
        var seen: String
        /// Consequence and remedy.
        var advice: String
        var figures: [String: Any]
    }

    var exit: ChildProcess.Exit
    var findings: [String: Finding] = [:]
    /// The reason why nothing was tested.
    var error: String?
    var description: String

    init(_ arguments: [String], environment: [String: String] = [:]) async throws {
        let finished = try await ChildProcess.run(
            try Executables.built("syncd"), ["doctor", "--json"] + arguments, environment: environment,
            within: .seconds(60))
        exit = finished.exit
        description = finished.output + finished.errors
        guard !finished.output.isEmpty else { return }
        let parsed = try JSONSerialization.jsonObject(with: Data(finished.output.utf8))
        let report = try #require(parsed as? [String: Any])
        if case .status(let status) = exit { #expect(report["exit-status"] as? Int == Int(status)) }
        error = report["error"] as? String
        if error != nil { return }
        for item in try #require(report["findings"] as? [[String: Any]]) {
            let check = try #require(item["check"] as? String)
            #expect(findings[check] == nil, "\(check) stands twice")
            findings[check] = Finding(
                verdict: try #require(item["verdict"] as? String), seen: try #require(item["seen"] as? String),
                advice: [item["follows"], item["remedy"]].compactMap { $0 as? String }.joined(separator: "; "),
                figures: try #require(item["figures"] as? [String: Any]))
        }
    }

    subscript(check: String) -> String? { findings[check]?.verdict }

    /// The checks that are not as they should be, in alphabetical order, with their verdicts.
    var bad: [String] {
        findings.filter { $0.value.verdict != "ok" }.map { "\($0.key) \($0.value.verdict)" }.sorted()
    }

    /// The finding has the verdict, and its texts contain these.
    func expect(
        _ check: String, _ verdict: String, _ texts: String..., sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let finding = findings[check]
        #expect(finding?.verdict == verdict, "\(check)\n\(self)", sourceLocation: sourceLocation)
        let text = "\(finding?.seen ?? ""); \(finding?.advice ?? "")"
        for part in texts { #expect(text.contains(part), "\(text)", sourceLocation: sourceLocation) }
    }
}
