import Glibc

/// Takes every job of the Swift concurrency runtime that would go to the global executor: the simulation runs them
/// on its own thread, in an order that the seed chooses. The runtime offers this variable for test executors
/// (swift_task_enqueueGlobal_hook in include/swift/Runtime/Concurrency.h of the Swift project).
enum JobHook {
    private typealias Original = @convention(thin) (UnownedJob) -> Void
    private typealias Hook = @convention(thin) (UnownedJob, Original) -> Void

    // Unchecked: set before the first task is made; afterwards only the simulation's thread makes and runs jobs.
    nonisolated(unsafe) private static var receiver: (UnownedJob) -> Void = { _ in }

    /// From here on `receive` gets all jobs. Returns false where the runtime has no such variable.
    static func install(_ receive: @escaping (UnownedJob) -> Void) -> Bool {
        receiver = receive
        guard let symbol = dlsym(dlopen(nil, RTLD_NOW), "swift_task_enqueueGlobal_hook") else { return false }
        symbol.assumingMemoryBound(to: Optional<Hook>.self).pointee = { job, _ in JobHook.receiver(job) }
        return true
    }

    /// Runs a job to its next suspension.
    static func run(_ job: UnownedJob) { job.runSynchronously(on: executor.asUnownedSerialExecutor()) }

    private static let executor = InlineExecutor()

    /// Names the place where jobs run; nothing is ever enqueued on it.
    private final class InlineExecutor: SerialExecutor {
        func enqueue(_ job: consuming ExecutorJob) { JobHook.receiver(UnownedJob(job)) }
        func asUnownedSerialExecutor() -> UnownedSerialExecutor { UnownedSerialExecutor(ordinary: self) }
    }
}
