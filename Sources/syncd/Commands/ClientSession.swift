import ArgumentParser
import IPC
import ProcessSupport

/// Exit statuses of the commands that query a running daemon; scripts rely on them.
extension ExitCode {
    /// The host is cut off from the log.
    static let isolated = ExitCode(1)
    /// No process listens on the socket.
    static let noDaemon = ExitCode(3)
    /// The request is invalid.
    static let usage = ExitCode(64)
    /// Standard output is not writable.
    static let outputFailed = ExitCode(74)
}

/// A short conversation with a running daemon.
enum ClientSession {
    /// Connects, runs `body` and closes. Without a daemon: reports this and ends with status 3.
    static func with<Result>(
        _ option: SocketOption, _ body: (SyncdClient) async throws -> Result
    ) async throws -> Result {
        let path = try option.resolved()
        let client: SyncdClient
        do {
            client = try await SyncdClient.connect(path: path)
        } catch {
            StandardError.write("syncd: no daemon answers: \(error)\n")
            throw ExitCode.noDaemon
        }
        do {
            let result = try await body(client)
            client.close()
            return result
        } catch let code as ExitCode {
            client.close()
            throw code
        } catch {
            client.close()
            StandardError.write("syncd: \(error)\n")
            throw ExitCode.noDaemon
        }
    }

    /// All sections of STATUS.
    static func status(_ client: SyncdClient) async throws -> [StatusField] {
        try StatusField.decode(try await answer(client, .status(section: nil)))
    }

    /// The reply. An error reply is printed and ends the command with status 64.
    static func answer(_ client: SyncdClient, _ request: Request) async throws -> RESPValue {
        let value = try await client.request(request)
        if case .error(let text) = value {
            StandardError.write("syncd: \(text.escaped)\n")
            throw ExitCode.usage
        }
        return value
    }
}
