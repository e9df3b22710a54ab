import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// Keeps a process alive that reads a mapped file which somebody truncates: the kernel sends SIGBUS for a page that the
/// file has not any more.
///
/// The handler maps a page of ones in its place, and one in the place of the first page, which has the header. To the
/// rule, ones are a state that is not attached, slots that were invalidated, and records that were overwritten: everything
/// is a miss until the next file is mapped, also a value that is being copied at this moment. The writer of a file cannot
/// go on: it says why it ends. Faults elsewhere go to the handler that was there before.
enum TruncationGuard {
    /// Mapped ranges: start (0: a free place), length, and 1 for those of a writer. A process has three; one that embeds many
    /// caches has three for each.
    private static let capacity = 512
    // Unchecked: the memory is accessed by atomics, and is never freed.
    private nonisolated(unsafe) static let ranges: UnsafeMutablePointer<Atomic<UInt>> = {
        let memory = UnsafeMutablePointer<Atomic<UInt>>.allocate(capacity: 3 * capacity)
        for place in 0..<3 * capacity { (memory + place).initialize(to: Atomic(0)) }
        return memory
    }()
    private static let pageBytes = UInt(sysconf(Int32(_SC_PAGESIZE)))
    /// A file of one page of ones, which has no name any more; negative: it could not be made.
    private static let ones: Int32 = {
        let name = "/syncd-\(UInt64.random(in: 0...UInt64.max))"
        let file = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0o600)
        shm_unlink(name)
        let page = [UInt8](repeating: 0xff, count: Int(pageBytes))
        guard file >= 0, write(file, page, page.count) == page.count else { return -1 }
        return file
    }()
    // Unchecked: stored once, before the handler can run.
    private nonisolated(unsafe) static var former = sigaction()
    private static let isInstalled: Bool = {
        guard ones >= 0 else { return false }
        _ = ranges
        var action = sigaction()
        action.__sigaction_handler.sa_sigaction = { TruncationGuard.fault($0, $1, $2) }
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | Int32(bitPattern: UInt32(SA_NODEFER))
        return sigaction(SIGBUS, &action, &former) == 0
    }()

    private static let lastWords: StaticString =
        "another program truncated a file that this process writes (tags.table, values.arena): it ends, and its next start makes a new one\n"

    /// Guards a mapping until it is removed.
    static func add(_ memory: UnsafeMutableRawPointer, bytes: Int, isWriter: Bool = false) {
        guard isInstalled else { return }
        for place in 0..<capacity {
            let isTaken = ranges[3 * place].compareExchange(
                expected: 0, desired: UInt(bitPattern: memory), ordering: .acquiringAndReleasing
            ).exchanged
            guard isTaken else { continue }
            ranges[3 * place + 2].store(isWriter ? 1 : 0, ordering: .releasing)
            return ranges[3 * place + 1].store(UInt(bytes), ordering: .releasing)
        }
    }

    /// Call this before the memory is unmapped.
    static func remove(_ memory: UnsafeMutableRawPointer) {
        for place in 0..<capacity where ranges[3 * place].load(ordering: .acquiring) == UInt(bitPattern: memory) {
            ranges[3 * place + 1].store(0, ordering: .releasing)
            ranges[3 * place].store(0, ordering: .releasing)
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
            let start = ranges[3 * place].load(ordering: .acquiring)
            let bytes = ranges[3 * place + 1].load(ordering: .acquiring)
            if start != 0, address >= start, address - start < bytes {
                if ranges[3 * place + 2].load(ordering: .acquiring) == 1 {
                    _ = write(STDERR_FILENO, lastWords.utf8Start, lastWords.utf8CodeUnitCount)
                    break
                }
                if replace(start), replace(address / pageBytes * pageBytes) { return }
            }
            place += 1
        }
        // Of somebody else: the former handler gets it when the access is repeated.
        sigaction(SIGBUS, &former, nil)
    }

    private static func replace(_ address: UInt) -> Bool {
        guard let page = UnsafeMutableRawPointer(bitPattern: address) else { return false }
        // In one step: no other thread sees a page of zeros.
        let flags = MAP_PRIVATE | MAP_FIXED
        return mmap(page, Int(pageBytes), PROT_READ | PROT_WRITE, flags, ones, 0) != MAP_FAILED
    }
}
