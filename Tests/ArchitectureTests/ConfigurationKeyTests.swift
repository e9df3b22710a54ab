import SyncCore
import Testing

@testable import ProcessSupport
@testable import apiworker
@testable import syncd

/// Every key that is read is documented, with its default, and nothing else is.
@Suite struct ConfigurationKeyTests {
    private static var all: [ConfigurationKey] {
        let own = ConfigurationKey.syncdKeys
        return own + ConfigurationKey.workerKeys.filter { key in !own.contains { $0.name == key.name } }
    }

    @Test func `the README's table`() throws {
        let rows = DocumentedKeys.table("Configuration", in: try TextFile("README.md").text)
        #expect(DocumentedKeys.differences(rows.map(\.name), Self.all.map(\.name)) == [])
        for row in rows where row.name != ConfigurationKey.bridgeRules.name {
            let key = try #require(Self.all.first { $0.name == row.name })
            #expect(row.standard == key.defaultText ?? "", "\(row.name)")
        }
    }

    @Test func `the manual pages`() throws {
        let pages = [
            ("syncd", ConfigurationKey.syncdKeys.map(\.name)), ("apiworker", ConfigurationKey.workerKeys.map(\.name)),
        ]
        for (page, keys) in pages {
            let text = try TextFile("docs/man/\(page).8").text
            #expect(DocumentedKeys.differences(DocumentedKeys.manual(text), keys) == [], "\(page).8")
        }
    }

    @Test func `the environment of the API`() throws {
        let rows = DocumentedKeys.table("Environment", in: try TextFile("docs/http-api.md").text)
        #expect(DocumentedKeys.differences(rows.map(\.name), ConfigurationKey.workerKeys.map(\.name)) == [])
    }

    @Test func `the limits`() throws {
        let text = try TextFile("docs/protocol.md").text
        let adjustable = text.split(separator: "\n").filter { !$0.contains("(fixed)") }.joined(separator: "\n")
        let fixed = DocumentedKeys.table("Limits", in: text).map(\.name)
        let documented = DocumentedKeys.table("Limits", in: adjustable).map(\.name)
        let limits = Limits.adjustable.map(\.name)
        #expect(Set(documented).subtracting(limits) == [], "read by nobody")
        #expect(Set(limits).subtracting(fixed) == [], "missing")
    }

    @Test func `keys that are mentioned anywhere`() throws {
        let secrets = Self.all.filter(\.isSecret).map { "\($0.name)_FILE" }
        let limits = Limits.adjustable.map { SyncdConfiguration.key($0).name }
        let known = Set(Self.all.map(\.name) + secrets + limits)
        let files =
            try PackageFiles.documents() + PackageFiles.all(below: "docs/man", ending: ".8")
            + PackageFiles.all(below: "systemd", ending: "")
        for file in files {
            let unknown = DocumentedKeys.mentioned(in: file.text).subtracting(known).subtracting(["SYNCD_LIMIT"])
            #expect(unknown == [], "\(file.path)")
        }
    }

    @Test func `no key and no option twice`() {
        for keys in [ConfigurationKey.syncdKeys, ConfigurationKey.workerKeys] {
            #expect(Set(keys.map(\.name)).count == keys.count)
            #expect(Set(keys.map(\.option)).count == keys.count)
        }
    }

    // MARK: The rules notice

    @Test func `what differs`() {
        #expect(
            DocumentedKeys.differences(["A", "B", "B", "D"], ["A", "B", "C"]) == [
                "B stands twice", "C is missing", "D is read by nobody",
            ])
        #expect(DocumentedKeys.differences(["B", "A"], ["A", "B"]) == [])
    }

    @Test func `tables, manual pages and mentions are read`() {
        let table =
            "# X\n| `NO` | | |\n## Y\n| key | d | m |\n| --- | --- | --- |\n| `A`, `B` | `1` | both |\n# Z\n| `C` | | |"
        #expect(
            DocumentedKeys.table("Y", in: table) == [
                DocumentedKeys.Row(name: "A", standard: "1"), DocumentedKeys.Row(name: "B", standard: "1"),
            ])
        #expect(DocumentedKeys.manual(".It Ev A_B , C\n.It Ev SYNCD_LIMIT_ Ns Ar NAME\n.Ev D") == ["A_B", "C"])
        #expect(
            DocumentedKeys.mentioned(in: "`DB_URL=x`, XDB_URL, LOG_LEVEL. WORKER_L1_BYTES") == [
                "DB_URL", "LOG_LEVEL", "WORKER_L1_BYTES",
            ])
    }
}
