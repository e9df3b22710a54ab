import ArgumentParser
import Foundation
import Least
import NIOCore
import TestSupport

/// The least process that can stand between a client and Redis (`Benchmarks/Least`), as a process of this program.
final class LeastProcess {
    /// One number in a file that two processes map.
    struct Memory {
        let pointer: UnsafeMutablePointer<UInt64>

        init(path: String) throws {
            let descriptor = open(path, O_RDWR | O_CREAT, 0o600)
            defer { close(descriptor) }
            guard descriptor >= 0, ftruncate(descriptor, 4096) == 0,
                let memory = mmap(nil, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), memory != MAP_FAILED
            else { throw TestFailure("\(path) cannot be mapped") }
            pointer = memory.bindMemory(to: UInt64.self, capacity: 1)
        }

        var number: UInt64 { least_number(pointer) }
    }

    let memory: Memory
    let socketPath: String
    private let directory: TemporaryDirectory
    private let process: ChildProcess
    var pid: Int32 { process.pid }

    /// - Parameters:
    ///   - append: the words of the command that appends.
    ///   - isOnNIO: ``LeastOnNIO`` instead of the one in C.
    init(
        _ redis: RedisServer, _ append: [String], isSubscribed: Bool = false, isOnNIO: Bool = false
    ) async throws {
        directory = try TemporaryDirectory(in: "/dev/shm")
        socketPath = directory.file("least.sock")
        memory = try Memory(path: directory.file("number"))
        // The script and its name, the number of keys, the keys, four arguments, the body, and the channel.
        let channel = isSubscribed ? ["--channel", append[3 + (Int(append[2]) ?? 0) + 5]] : []
        process = try ChildProcess(
            try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"),
            ["least", "--socket", socketPath, "--redis", redis.socketPath, "--memory", directory.file("number")]
                + channel + (isOnNIO ? ["--on-nio"] : []) + ["--"] + append)
        for _ in 0..<1000 {
            if (try? Wire(path: socketPath)) != nil { return }
            try await Task.sleep(for: .milliseconds(5))
        }
        throw TestFailure("the least process does not listen\n\(process.transcript)")
    }

    struct Command: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "least", abstract: "Appends for each request, and nothing else.", shouldDisplay: false)

        @Option var socket: String
        @Option var redis: String
        @Option var memory: String
        @Option var channel: String?
        @Flag var onNIO = false
        @Argument var append: [String]

        func run() async throws {
            let encoded = Wire.encoded(append.map { ByteBuffer(string: $0) })
            let number = try Memory(path: memory).pointer
            if onNIO {
                let least = LeastOnNIO(redis: redis, channel: channel, append: encoded, number: number)
                return try await least.run(socket: socket)
            }
            let bytes = encoded.map { CChar(bitPattern: $0) }
            if let error = least_run(socket, redis, channel, bytes, bytes.count, number) {
                throw TestFailure(String(cString: error))
            }
        }
    }
}
