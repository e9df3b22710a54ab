import IPCWire
import NIOCore

/// The clock of the worker's side: the boot clock, or in tests a manual one.
package struct WorkerClock: Sendable {
    /// CLOCK_BOOTTIME in nanoseconds.
    let now: @Sendable () -> BootTime
    /// Returns at the given time; throws `CancellationError`.
    let sleep: @Sendable (_ deadline: BootTime) async throws -> Void
    /// Runs a function on an event loop at the given time.
    let schedule: @Sendable (any EventLoop, _ deadline: BootTime, @escaping @Sendable () -> Void) -> Void

    package init(
        now: @escaping @Sendable () -> BootTime, sleep: @escaping @Sendable (BootTime) async throws -> Void,
        schedule: @escaping @Sendable (any EventLoop, BootTime, @escaping @Sendable () -> Void) -> Void
    ) {
        self.now = now
        self.sleep = sleep
        self.schedule = schedule
    }

    /// The boot clock.
    package static let boot = WorkerClock(
        now: { BootClock.now },
        sleep: { deadline in
            // A suspended host or a coarse timer may wake a sleeper early.
            while true {
                let now = BootClock.now
                guard now < deadline else { return }
                try await Task.sleep(nanoseconds: deadline - now)
            }
        },
        schedule: { eventLoop, deadline, work in
            let now = BootClock.now
            let delay = now < deadline ? Int64(clamping: deadline - now) : 0
            eventLoop.scheduleTask(in: .nanoseconds(delay), work)
        }
    )
}
