import IPC
import Logging
import NIOCore

extension SyncedCache {
    /// A cache whose time is a clock that is moved by hand. `eventLoop` carries the connection.
    public convenience init(
        configuration: SyncedCacheConfiguration, eventLoop: any EventLoop, logger: Logger, clock: ManualClock
    ) {
        self.init(
            configuration: configuration, eventLoop: eventLoop, logger: logger,
            platform: .system(clock: clock.workerClock))
    }
}
