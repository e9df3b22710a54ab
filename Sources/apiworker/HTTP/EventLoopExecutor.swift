import NIOCore

/// Runs work on Swift's own threads that would delay the other requests of an event loop.
@concurrent func offEventLoop<Value: Sendable>(_ work: @escaping @Sendable () -> Value) async -> Value {
    await withTaskExecutorPreference(globalConcurrentExecutor) { work() }
}

/// Runs tasks on an event loop, between its other work.
///
/// A request arrives on the event loop, and its response leaves there. A task on Swift's own threads would have to be
/// woken up for the request and to wake up the event loop for the response. With this executor neither is needed, and a
/// worker is one thread, as there is one worker per core.
final class EventLoopExecutor: TaskExecutor {
    private let eventLoop: any EventLoop

    init(_ eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    /// Jobs never run inside this call, also on the event loop: the caller that resumes a task may hold a lock.
    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        eventLoop.execute { [self] in job.runSynchronously(on: asUnownedTaskExecutor()) }
    }
}
