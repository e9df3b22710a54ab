import IPCWire

/// A process that reads on a host: a worker, or a client in any language.
// Unchecked: everything in a simulation runs on its one thread.
class Reader: Process, @unchecked Sendable {
    let host: Host
    /// The time until which its messages to the database are delayed; they arrive after that.
    var databaseHeldUntil: BootTime = 0

    init(host: Host, name: String) {
        self.host = host
        super.init(world: host.world, name: name)
    }
}
