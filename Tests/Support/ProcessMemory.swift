import Foundation

/// Memory of a process, as the kernel reports it (proc(5)).
package enum ProcessMemory {
    /// Bytes that are resident.
    package static func resident(_ pid: pid_t) throws -> Int { try bytes("VmRSS", pid) }

    /// The most bytes that were ever resident.
    package static func peak(_ pid: pid_t) throws -> Int { try bytes("VmHWM", pid) }

    private static func bytes(_ name: String, _ pid: pid_t) throws -> Int {
        let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
        guard let line = status.split(separator: "\n").first(where: { $0.hasPrefix("\(name):") }),
            let kilobytes = line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap({ Int($0) })
        else { throw TestFailure("/proc/\(pid)/status has no \(name): \(status)") }
        return kilobytes * 1024
    }
}
