import Foundation
import TestSupport
import Testing

/// `make install` and `make uninstall` into a directory, as whoever makes a package uses them. Nobody has to be root.
@Suite(.tags(.bootedMachine)) struct InstallTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    /// Runs a script of the package with the directory as `/` and `/opt/syncd` as prefix.
    private func run(_ script: String) async throws {
        let result = try await ChildProcess.run(
            try Executables.find("env"),
            [
                "DESTDIR=\(directory.path)", "PREFIX=/opt/syncd", "BUILD=\(Executables.builtFolder)",
                "\(Executables.packageFolder)/scripts/\(script)",
            ], within: .seconds(60))
        #expect(result.exit == .status(0) && result.errors == "", "\(result)")
    }

    private func text(_ name: String) throws -> String {
        try String(contentsOfFile: directory.file(name), encoding: .utf8)
    }

    /// Every file under the directory.
    private var files: [String] {
        let all = FileManager.default.enumerator(atPath: directory.path)?.compactMap { $0 as? String } ?? []
        return all.filter { name in
            var isDirectory: ObjCBool = false
            return FileManager.default.fileExists(atPath: directory.file(name), isDirectory: &isDirectory)
                && !isDirectory.boolValue
        }
    }

    @Test func `installed where it was told to, configuration kept, uninstalled`() async throws {
        try await run("install")
        let units = "opt/syncd/lib/systemd/system"
        #expect(try text("\(units)/syncd.service").contains("\nExecStart=/opt/syncd/bin/syncd run "))
        #expect(try text("\(units)/apiworker@.service").contains("\nExecStart=/opt/syncd/bin/apiworker "))
        for page in ["man1/syncd.1", "man8/syncd.8", "man8/apiworker.8"] {
            #expect(try text("opt/syncd/share/man/\(page)").hasPrefix(".Dd "))
        }
        let mode = try FileManager.default.attributesOfItem(atPath: directory.file("etc/syncd/credentials"))
        #expect(mode[.posixPermissions] as? Int == 0o700, "secrets are for root")

        try directory.write("PORT=1\n", to: "etc/syncd/apiworker.conf")
        try await run("install")
        #expect(try text("etc/syncd/apiworker.conf") == "PORT=1\n", "an administrator's changes stay")

        try await run("uninstall")
        #expect(files.sorted() == ["etc/syncd/apiworker.conf", "etc/syncd/syncd.conf"])
    }

    @Test func `bash completes commands and options`() async throws {
        try await run("install")
        let script = """
            source \(directory.path)/opt/syncd/share/bash-completion/completions/$0
            COMP_WORDS=("$0" "$1") COMP_CWORD=1 COMP_LINE="$0 $1" COMP_POINT=$((${#0} + 1 + ${#1})) COMP_TYPE=9
            $(complete -p "$0" | grep -o -- '-F [^ ]*' | cut -c4-) "$0" "$1" "$0"
            printf '%s\\n' "${COMPREPLY[@]}"
            """
        for (program, word, full) in [("syncd", "met", "metrics"), ("apiworker", "--worker-l1", "--worker-l1-bytes")] {
            let result = try await ChildProcess.run(
                try Executables.find("bash"), ["-c", script, program, word])
            #expect(
                result.output.split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) } == [full],
                "\(result)")
        }
    }
}
