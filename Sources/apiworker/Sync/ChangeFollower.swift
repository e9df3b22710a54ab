import IPC
import Logging
import ServiceLifecycle

/// Follows the changes of the database while this worker runs (docs/change-feed.md).
struct ChangeFollower: Service {
    let cache: SyncedCache
    let changes: UserChanges
    let logger: Logger

    func run() async {
        // A reading of the stream can't be interrupted: the worker does not wait for its end.
        let following = Task {
            await cache.follow(changes, named: changes.name, troubled: log) { change in
                // Users whose id is no text are in lists at most, and no own write is theirs. A tag that nobody else has
                // keeps them from being covered by one.
                CacheTag.writing([change.key ?? "?\(change.time.seconds).\(change.time.increment)"])
            }
        }
        await cancelWhenGracefulShutdown {
            while (try? await Task.sleep(for: .seconds(3600))) != nil {}
        }
        following.cancel()
    }

    private var log: @Sendable (ChangeSourceFailure) -> Void {
        { [logger] failure in
            switch failure {
            case .unavailable(let why):
                logger.warning(
                    "The changes of MongoDB cannot be read, which is tried every 10 s: writes of programs that do not invalidate are not noticed",
                    metadata: ["why": "\(why)"])
            case .interrupted(let why):
                logger.notice("The change stream of the database is interrupted", metadata: ["why": "\(why)"])
            case .historyLost(let why):
                logger.notice(
                    "The changes of the database since the last known one are lost: everything is invalidated",
                    metadata: ["why": "\(why)"])
            }
        }
    }
}
