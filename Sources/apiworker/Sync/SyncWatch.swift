import Glibc
import IPC
import Logging
import ServiceLifecycle

/// Logs a long loss of the connection to syncd, and the file system's reason. Nothing else shows that this user may not
/// use the socket, since everything works without.
struct SyncWatch: Service {
    let cache: SyncedCache
    let socketPath: String
    let logger: Logger

    /// A restart of syncd takes less time than this.
    private static let patience = Duration.seconds(10)
    private static let interval = Duration.seconds(60)

    func run() async {
        await cancelWhenGracefulShutdown {
            var nextLine = ContinuousClock.now + Self.patience
            var nextJournalLine = nextLine
            var isJournalSaid = false
            while (try? await Task.sleep(for: .seconds(1))) != nil {
                if cache.status.sync != .detached {
                    nextLine = .now + Self.patience
                } else if nextLine <= .now {
                    nextLine = .now + Self.interval
                    let why = Self.why(socketPath)
                    logger.warning(
                        "No connection to syncd: everything is read from MongoDB, and each write may take 1 s longer",
                        metadata: ["SYNCD_SOCKET": "\(socketPath)", "why": "\(why)"])
                }
                if cache.status.isJournalUsable {
                    if isJournalSaid { logger.notice("The journal can be written again") }
                    (isJournalSaid, nextJournalLine) = (false, .now + Self.patience)
                } else if nextJournalLine <= .now {
                    (isJournalSaid, nextJournalLine) = (true, .now + Self.interval)
                    logger.warning(
                        "The journal cannot be written: if this worker dies in the middle of a write, caches may stay stale",
                        metadata: ["path": "\(RuntimeDirectory.journal(socketPath: socketPath))"])
                }
            }
        }
    }

    private static func why(_ path: String) -> String {
        access(path, W_OK) == 0 ? "nobody answers" : String(cString: strerror(errno))
    }
}
