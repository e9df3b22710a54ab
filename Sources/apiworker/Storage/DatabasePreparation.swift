import Logging
import ServiceLifecycle

/// Waits for the database at start, without keeping anybody else waiting, and makes the index of lists.
struct DatabasePreparation: Service {
    let store: UserStore
    let worker: WorkerIdentity
    let logger: Logger

    /// Time between two attempts.
    private static let pause = Duration.seconds(1)

    func run() async throws {
        await cancelWhenGracefulShutdown {
            await connect()
            await makeIndex()
        }
        // Returning would end the process.
        try? await gracefulShutdown()
    }

    private func connect() async {
        while !Task.isCancelled {
            do throws(StorageFailure) {
                try await store.ping()
                return logger.notice("Worker \(worker.text): MongoDB connected")
            } catch {
                logger.debug("MongoDB doesn't answer yet", metadata: ["detail": "\(error.detail)"])
            }
            try? await Task.sleep(for: Self.pause)
        }
    }

    /// Without the index lists are slower, nothing else.
    private func makeIndex() async {
        while !Task.isCancelled {
            do throws(StorageFailure) {
                return try await store.makeIndex()
            } catch  where error.kind == .unavailable {
                logger.debug("The index is not made yet", metadata: ["detail": "\(error.detail)"])
            } catch {
                return logger.warning("The index can't be made", metadata: ["detail": "\(error.detail)"])
            }
            try? await Task.sleep(for: Self.pause)
        }
    }
}
