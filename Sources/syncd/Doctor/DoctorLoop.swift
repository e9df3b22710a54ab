import NIOCore
import NIOPosix

/// The event loop of the doctor, as an actor: its connections belong to one event loop, and its checks are sequential.
@globalActor
actor DoctorLoop {
    static let shared = DoctorLoop()

    let eventLoop: any EventLoop
    private let executor: any SerialExecutor

    private init() {
        eventLoop = MultiThreadedEventLoopGroup.singleton.any()
        executor = eventLoop.executor
    }

    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }
}
