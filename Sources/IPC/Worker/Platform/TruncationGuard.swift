import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// Keeps a process alive that reads a mapped file which somebody truncates: the kernel sends SIGBUS for a page that the
/// file has not any more.
///
/// The handler puts a page of ones in its place. To the rule, ones are a state that is not attached, slots that were
/// invalidated, and records that do not exist: everything is a miss until the next file is mapped. Faults elsewhere go to
/// the handler that was there before.
enum TruncationGuard {
    /// Mapped ranges; a start of 0 is a free place.
    private static let capacity = 32
    // Unchecked: the memory is accessed by atomics, and is never freed.
    private nonisolated(unsafe) static let ranges: UnsafeMutablePointer<Atomic<UInt>> = {
        let memory = UnsafeMutablePointer<Atomic<UInt>>.allocate(capacity: 2 * capacity)
        for place in 0..<2 * capacity { (memory + place).initialize(to: Atomic(0)) }
        return memory
    }()
    private static let pageBytes = UInt(sysconf(Int32(_SC_PAGESIZE)))
    // Unchecked: stored once, before the handler can run.
    private nonisolated(unsafe) static var former = sigaction()
    private static let isInstalled: Bool = {
        _ = (ranges, pageBytes)
        var action = sigaction()
        action.__sigaction_handler.sa_sigaction = { TruncationGuard.fault($0, $1, $2) }
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | Int32(bitPattern: UInt32(SA_NODEFER))
        return sigaction(SIGBUS, &action, &former) == 0
    }()

    /// Guards a mapping until it is removed.
    static func add(_ memory: UnsafeMutableRawPointer, bytes: Int) {
        guard isInstalled else { return }
        for place in 0..<capacity {
            let isTaken = ranges[2 * place].compareExchange(
                expected: 0, desired: UInt(bitPattern: memory), ordering: .acquiringAndReleasing
            ).exchanged
            if isTaken { return ranges[2 * place + 1].store(UInt(bytes), ordering: .releasing) }
        }
    }

    /// Call this before the memory is unmapped.
    static func remove(_ memory: UnsafeMutableRawPointer) {
        for place in 0..<capacity where ranges[2 * place].load(ordering: .acquiring) == UInt(bitPattern: memory) {
            ranges[2 * place + 1].store(0, ordering: .releasing)
            ranges[2 * place].store(0, ordering: .releasing)
        }
    }

    /// Runs as a signal handler: no allocation, no locks.
    private static func fault(
        _ signal: Int32, _ info: UnsafeMutablePointer<siginfo_t>?, _ context: UnsafeMutableRawPointer?
    ) {
        guard let info else { return }
        let address = UInt(bitPattern: info.pointee._sifields._sigfault.si_addr)
        var place = 0
        while place < capacity {
            let start = ranges[2 * place].load(ordering: .acquiring)
            let bytes = ranges[2 * place + 1].load(ordering: .acquiring)
            if start != 0, address >= start, address - start < bytes, replace(address / pageBytes * pageBytes) {
                return
            }
            place += 1
        }
        // Of somebody else: the former handler gets it when the access is repeated.
        sigaction(SIGBUS, &former, nil)
    }

    private static func replace(_ address: UInt) -> Bool {
        guard let page = UnsafeMutableRawPointer(bitPattern: address) else { return false }
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
        guard mmap(page, Int(pageBytes), PROT_READ | PROT_WRITE, flags, -1, 0) != MAP_FAILED else { return false }
        memset(page, 0xff, Int(pageBytes))
        return true
    }
}
