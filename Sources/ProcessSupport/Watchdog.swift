import NIOCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// The service manager's watchdog (sd_watchdog_enabled(3)): it ends and restarts a process that has not sent a
/// keep-alive for this long.
public struct Watchdog: Sendable, Hashable {
    /// `WATCHDOG_USEC`, in nanoseconds.
    public let timeoutNanoseconds: Int64

    /// `nil` if there is none, or if it is meant for another process.
    public init?(environment: [String: String] = ProcessEnvironment.current, processID: Int32 = getpid()) {
        if let owner = environment["WATCHDOG_PID"], owner != String(processID) { return nil }
        guard let text = environment["WATCHDOG_USEC"], text.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            let microseconds = Int64(text), microseconds > 0, microseconds <= Int64.max / 1000
        else { return nil }
        timeoutNanoseconds = microseconds * 1000
    }

    /// Sends a keep-alive at half the allowed time, from the event loop itself: a blocked loop sends none.
    ///
    /// - Parameter isHealthy: called before each one, on the loop; for `false` none is sent.
    public func start(
        on eventLoop: any EventLoop, manager: ServiceManager, isHealthy: @escaping @Sendable () -> Bool = { true }
    ) -> RepeatedTask {
        eventLoop.scheduleRepeatedTask(initialDelay: .zero, delay: .nanoseconds(timeoutNanoseconds / 2)) { _ in
            if isHealthy() { manager.notify(.watchdog) }
        }
    }
}
