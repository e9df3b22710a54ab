#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// The identity of this process in responses.
struct WorkerIdentity: Sendable, Hashable {
    /// The process id.
    let pid: Int32
    /// The process id as text, made once: every response has it.
    let text: String

    /// The identity of the current process.
    init() {
        pid = getpid()
        text = String(pid)
    }
}
