/// The report of `syncd doctor` for people: one paragraph a finding, at most 98 characters wide.
enum DoctorTable {
    private static let width = 98
    private static let verdictWidth = 9
    private static let checkWidth = 19

    static func render(_ report: DoctorReport) -> String {
        let head = "\(report.endpoint)  namespace \(report.namespace)\n\n"
        return head + report.sorted.map(paragraph).joined() + "\n" + summary(report) + "\n"
    }

    private static func paragraph(_ finding: Finding) -> String {
        let indent = String(repeating: " ", count: verdictWidth + checkWidth)
        var lines = wrapped(finding.seen)
        if let follows = finding.follows { lines += wrapped("so: \(follows)") }
        if let remedy = finding.remedy { lines += wrapped("do: \(remedy)") }
        let start = padded(finding.verdict.label, verdictWidth) + padded(finding.check.rawValue, checkWidth)
        return lines.enumerated().map { ($0 == 0 ? start : indent) + $1 + "\n" }.joined()
    }

    private static func summary(_ report: DoctorReport) -> String {
        let failures = report.findings.count { $0.verdict == .failure }
        let warnings = report.findings.count { $0.verdict == .warning }
        func count(_ number: Int, _ word: String) -> String { "\(number) \(word)\(number == 1 ? "" : "s")" }
        switch report.verdict {
        case .failure where !report.isReached: return "No server answers: nothing could be tested."
        case .failure:
            return
                "\(count(failures, "failure")), \(count(warnings, "warning")): syncd cannot use this server as it is."
        case .warning:
            return "\(count(warnings, "warning")): syncd works with this server, with the consequences above."
        case .note, .ok: return "syncd can use this server."
        }
    }

    private static func padded(_ text: String, _ count: Int) -> String {
        text + String(repeating: " ", count: max(1, count - text.count))
    }

    /// Lines of a text, broken between words. Lines of a sentence after its first are indented below "so: ".
    private static func wrapped(_ text: String) -> [String] {
        let limit = width - verdictWidth - checkWidth
        let hanging = ["so: ", "do: "].contains { text.hasPrefix($0) } ? "    " : ""
        var lines: [String] = []
        for word in shown(text).split(separator: " ") {
            if let last = lines.last, last.count + 1 + word.count <= limit {
                lines[lines.count - 1] += " \(word)"
            } else {
                lines.append((lines.isEmpty ? "" : hanging) + word)
            }
        }
        return lines
    }

    /// A server may say control characters, which a terminal would obey.
    private static func shown(_ text: String) -> String {
        let scalars = text.unicodeScalars.map { $0.properties.generalCategory == .control ? "?" : $0 }
        return String(String.UnicodeScalarView(scalars))
    }
}
