import Logging
import ServiceLifecycle

/// Waits for the database without blocking requests: at start, when it also creates the index of lists, and after each
/// time when the database stops answering.
struct DatabaseWatch: Service {
    let store: UserStore
    let worker: WorkerIdentity
    let logger: Logger

    /// Interval of checks. A client that is told to come back after a second should find the database known to be
    /// reachable.
    static let interval = Duration.milliseconds(500)

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var isConnected = false
            var isIndexMade = false
            var lastDetail = ""
            while !Task.isCancelled {
                if !isConnected || !store.operations.isReachable {
                    if let failure = await probe() {
                        // Findings about the server are logged already, where they are detected.
                        if failure.evidence == .none, failure.detail != lastDetail {
                            lastDetail = failure.detail
                            logger.warning("MongoDB can't be asked", metadata: ["detail": "\(failure.detail)"])
                        }
                    } else if !isConnected {
                        isConnected = true
                        logger.notice("Worker \(worker.text): MongoDB connected")
                    }
                }
                if isConnected, !isIndexMade { isIndexMade = await hasIndex() }
                try? await Task.sleep(for: Self.interval)
            }
        }
    }

    private func probe() async -> StorageFailure? {
        do throws(StorageFailure) {
            try await store.probe()
            return nil
        } catch {
            return error
        }
    }

    /// Without the index, lists are slower. There is no other effect.
    private func hasIndex() async -> Bool {
        do throws(StorageFailure) {
            try await store.makeIndex()
            return true
        } catch  where error.kind == .unavailable {
            logger.debug("The index is not made yet", metadata: ["detail": "\(error.detail)"])
            return false
        } catch {
            logger.warning("The index can't be made", metadata: ["detail": "\(error.detail)"])
            return true
        }
    }
}
