import Foundation
import TestSupport

/// The table in docs/performance.md, between two marks. A measured row replaces the one with its name; the others stay.
enum Report {
    private static let begin = "<!-- measured -->"
    private static let end = "<!-- end of measured -->"

    static func put(_ rows: [Measured], into path: String) throws {
        let text = try String(contentsOfFile: path, encoding: .utf8)
        let parts = text.components(separatedBy: begin)
        guard parts.count == 2, let last = parts[1].range(of: end) else {
            throw TestFailure("\(path) has no lines \(begin) and \(end)")
        }
        var lines = parts[1][..<last.lowerBound].split(separator: "\n").map(String.init)
            .filter { $0.hasPrefix("| `") }
        for row in rows {
            let line = Self.line(row.cells)
            if let place = lines.firstIndex(where: { $0.hasPrefix("| `\(row.name)` |") }) {
                lines[place] = line
            } else {
                lines.append(line)
            }
        }
        let head = [machine, "", line(Measured.header), line(Measured.header.map { _ in "---" })]
        let table = (head + lines).joined(separator: "\n")
        try "\(parts[0])\(begin)\n\(table)\n\(parts[1][last.lowerBound...])"
            .write(toFile: path, atomically: true, encoding: .utf8)
    }

    private static func line(_ cells: [String]) -> String { "| \(cells.joined(separator: " | ")) |" }

    /// Date and machine.
    private static var machine: String {
        func read(_ path: String) -> String { (try? String(contentsOfFile: path, encoding: .utf8)) ?? "" }
        let processor = read("/proc/cpuinfo").split(separator: "\n").first { $0.hasPrefix("model name") }
        let model = processor?.split(separator: ":").last.map { $0.trimmingCharacters(in: .whitespaces) } ?? "unknown"
        let kernel = read("/proc/sys/kernel/osrelease").trimmingCharacters(in: .whitespacesAndNewlines)
        let date = Date.now.formatted(.iso8601.year().month().day())
        let cores = ProcessInfo.processInfo.activeProcessorCount
        return "Last measured \(date) on \(model), \(cores) cores, Linux \(kernel); figures are medians of the rounds."
    }
}
