import ArgumentParser
import Foundation
import Synchronization
import TestSupport

/// `make bench`: measures each row and its yardstick by turns, on real servers.
@main
struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measures syncd and its workers beside what they are compared with (docs/performance.md).",
        subcommands: [
            Run.self, Curves.self, Eviction.self, ConstantServerCommand.self, LeastProcess.Command.self,
            Readers.Command.self,
        ], defaultSubcommand: Run.self)

    struct Run: AsyncParsableCommand {
        @Argument(help: "What to measure; everything if not given. --list names it.")
        var scenarios: [Scenario] = []

        @Option(help: "How often each row and its yardstick take turns.")
        var rounds = 7

        @Option(help: "A document whose table gets the rows that were measured.")
        var write: String?

        @Flag(help: "Name what can be measured, and the rows that it makes.")
        var list = false

        func run() async throws {
            if list {
                for scenario in Scenario.allCases { print("\(scenario.rawValue): \(scenario.rows)") }
                return
            }
            var rows: [Measured] = []
            for scenario in scenarios.isEmpty ? Scenario.allCases : scenarios {
                FileHandle.standardError.write(Data("measuring \(scenario.rawValue) …\n".utf8))
                let measured = try await scenario.run(rounds: rounds)
                for row in measured { print(row.cells.filter { !$0.isEmpty }.joined(separator: " | ")) }
                rows += measured
            }
            if let write { try Report.put(rows, into: write) }
        }
    }

    struct Curves: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Measures how figures grow and how single times are spread, as CSV (scripts/bench-plot).")

        @Argument(help: "What to measure; everything if not given.")
        var curves: [Curve] = []

        @Option(help: "The directory that gets a file for each.")
        var write: String

        func run() async throws {
            for curve in curves.isEmpty ? Curve.allCases : curves {
                FileHandle.standardError.write(Data("measuring \(curve.rawValue) …\n".utf8))
                let text = try await curve.measure().text
                try text.write(toFile: "\(write)/\(curve.rawValue).csv", atomically: true, encoding: .utf8)
            }
        }
    }

    struct ConstantServerCommand: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "constant-server", abstract: "Answers every request with the bytes of a file.",
            shouldDisplay: false)

        @Option var port: Int
        @Option var file: String
        @Option(help: "MongoDB; a cursor is drained before each answer.") var url: String?
        @Option var database = ""
        @Option(help: "The cursor's options, as JSON.") var cursor = "{}"

        func run() async throws {
            guard let url else { return try await ConstantServer.run(port: port, file: file) }
            let cursor = cursor
            let drain = Mutex(try Drain(url: url, database: database))
            try await ConstantServer.run(port: port, file: file) {
                drain.withLock { drain in _ = try? drain.find(cursor) }
            }
        }
    }
}

extension Scenario: ExpressibleByArgument {}
extension Curve: ExpressibleByArgument {}
