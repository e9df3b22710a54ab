import IPC
import ServiceLifecycle

/// Follows the changes of the database while this worker runs (docs/change-feed.md).
struct ChangeFollower: Service {
    let cache: SyncedCache
    let changes: UserChanges

    func run() async {
        // A reading of the stream can't be interrupted: the worker does not wait for its end.
        let following = Task {
            await cache.follow(changes, named: changes.name) { change in
                // Users whose id is no text are in lists at most.
                CacheTag.writing(change.key.map { [$0] } ?? [])
            }
        }
        await cancelWhenGracefulShutdown {
            while (try? await Task.sleep(for: .seconds(3600))) != nil {}
        }
        following.cancel()
    }
}
