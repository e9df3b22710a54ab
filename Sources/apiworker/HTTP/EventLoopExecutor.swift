import NIOCore

/// Runs tasks on an event loop, between its other work.
///
/// A request arrives on the event loop, and its answer leaves there. A task on Swift's own threads has to be woken up
/// for the one and to wake up the event loop for the other; here it is neither, and a worker is one thread, as there is
/// one worker per core.
final class EventLoopExecutor: TaskExecutor {
    private let eventLoop: any EventLoop

    init(_ eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    /// Never at once, also on the event loop: whoever resumes a task may hold a lock.
    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        eventLoop.execute { [self] in job.runSynchronously(on: asUnownedTaskExecutor()) }
    }
}
