import IPC
import Logging
import ServiceLifecycle

/// Receives syncd's pushes: logs every event that a worker of any host has published, and forwards it to the pages that
/// listen.
struct EventFeed: Service {
    let cache: SyncedCache
    let streams: EventStreams
    let worker: WorkerIdentity
    let logger: Logger
    /// The executor of the connection to syncd: no other thread has to be woken up for an event in the middle of a
    /// write.
    let executor: any TaskExecutor

    func run() async {
        await withTaskExecutorPreference(executor) { await feed() }
    }

    private func feed() async {
        await cancelWhenGracefulShutdown {
            for await notification in cache.notifications {
                switch notification {
                case .event(let event):
                    let channel = String(decoding: event.channel.readableBytesView, as: UTF8.self)
                    let payload = String(decoding: event.payload.readableBytesView, as: UTF8.self)
                    logger.info("Worker \(worker.text) received event on \(channel): \(payload)")
                    streams.publish(event)
                case .invalidation(let position, let tags):
                    streams.publishInvalidation(position: position, tags: tags)
                // Pages may have missed some that came after they began to listen.
                case .tracking: streams.publishAgain(cache.status.news)
                case .connected:
                    logger.info("Connected to syncd")
                    streams.publish(cache.status.news)
                case .disconnected:
                    logger.info("Connection to syncd lost")
                    // The connection may be back already. Pushes in between were missed nevertheless.
                    streams.publish(SyncNews(mode: .detached, epoch: cache.status.epoch))
                }
            }
        }
    }
}

/// Maintains the streams: comments, the state of the cache, and the end. The service has to be stopped before the
/// server, which waits for the streams.
struct EventStreamKeeper: Service {
    let cache: SyncedCache
    let streams: EventStreams

    /// Interval at which the state is read: there is no notification of its changes.
    private static let interval = Duration.seconds(1)

    func run() async {
        streams.publish(cache.status.news)
        await cancelWhenGracefulShutdown {
            await withDiscardingTaskGroup { group in
                group.addTask { await every(Self.interval) { streams.publish(cache.status.news) } }
                group.addTask { await every(streams.limits.commentInterval) { streams.publishComment() } }
            }
        }
        streams.end()
    }

    private func every(_ interval: Duration, _ body: () -> Void) async {
        while (try? await Task.sleep(for: interval)) != nil { body() }
    }
}
