import Foundation

/// Memory of a process, as the kernel reports it.
package enum ProcessMemory {
    /// Bytes that are resident (proc(5), VmRSS).
    package static func resident(_ pid: pid_t) throws -> Int {
        let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
        guard let line = status.split(separator: "\n").first(where: { $0.hasPrefix("VmRSS:") }),
            let kilobytes = line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap({ Int($0) })
        else { throw TestFailure("/proc/\(pid)/status has no VmRSS: \(status)") }
        return kilobytes * 1024
    }
}
