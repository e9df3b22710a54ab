import Glibc
import IPCTesting

/// Queries of `check-client` to the file system.
enum SystemFiles {
    private static let maximumBytes = 16 << 20

    /// The bytes of a file; `nil` if it cannot be read.
    static func read(_ path: String) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while bytes.count < maximumBytes {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return count < 0 ? nil : bytes }
            bytes += chunk[..<count]
        }
        return bytes
    }

    /// Time of the last change of the name, mode or owner of a file, by the wall clock.
    static func changeTime(_ path: String) -> Duration? {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        return .seconds(status.st_ctim.tv_sec) + .nanoseconds(status.st_ctim.tv_nsec)
    }

    static var wallClock: Duration {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
    }

    /// Whether a process of this group has a file mapped. For a process of another user this cannot be determined.
    static func isMapped(_ path: String, byGroup group: pid_t) -> Bool {
        ScratchFolder.names(in: "/proc").filter { $0.utf8.allSatisfy { (0x30...0x39).contains($0) } }.contains { pid in
            guard let status = read("/proc/\(pid)/stat") else { return false }
            // pid (name) state parent group …; the name may contain any character.
            let words = String(decoding: status, as: UTF8.self).split(separator: ")").last?.split(separator: " ")
            guard let words, words.count > 2, pid_t(words[2]) == group, let maps = read("/proc/\(pid)/maps") else {
                return false
            }
            return String(decoding: maps, as: UTF8.self).contains(path)
        }
    }
}
