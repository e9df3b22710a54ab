import Glibc
import IPC

/// Repeats the status: in place on a terminal, one after the other elsewhere. Waits for a daemon that is gone.
struct StatusWatch {
    let path: String
    let interval: Duration

    private static let home = "\u{1b}[H"
    private static let clearRestOfLine = "\u{1b}[K"
    private static let clearRest = "\u{1b}[J"

    func run() async throws {
        let isTerminal = isatty(STDOUT_FILENO) == 1
        var client: SyncdClient?
        while true {
            let text = await frame(&client)
            if isTerminal {
                // New text overwrites the old one, and only then the rest is cleared, so that nothing flickers.
                let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
                try StandardOutput.write(
                    Self.home + lines.joined(separator: Self.clearRestOfLine + "\n") + Self.clearRest)
            } else {
                try StandardOutput.write(text + "\n")
            }
            try await Task.sleep(for: interval)
        }
    }

    /// The text to show now. The connection is kept for the next time, or dropped if it failed.
    private func frame(_ client: inout SyncdClient?) async -> String {
        do {
            let connection = if let client { client } else { try await SyncdClient.connect(path: path) }
            client = connection
            return StatusTable.render(try await ClientSession.status(connection), time: time(nil))
        } catch {
            client?.close()
            client = nil
            return "no daemon answers: \(error)\n"
        }
    }
}
