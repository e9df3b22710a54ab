#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// Which process this is.
struct WorkerIdentity: Sendable, Hashable {
    /// Its process id.
    let pid: Int32
    /// The same as text, made once: every response says it.
    let text: String

    /// The process that runs this.
    init() {
        pid = getpid()
        text = String(pid)
    }
}
