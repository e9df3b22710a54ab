import Foundation
import Synchronization

/// A process to start.
struct SpawnRequest: Sendable {
    var executable: String
    var arguments: [String]
    var environment: [String: String]
    var workingDirectory: String
    var outputPath: String
    var errorPath: String
}

/// Starts processes that die with this one, whatever ends it.
///
/// The kernel sends their death signal when the *thread* ends that started them, so one thread starts them all and
/// lives for ever.
final class ProcessSpawner: Sendable {
    static let shared = ProcessSpawner()

    private final class Job: Sendable {
        let request: SpawnRequest
        let outcome = Mutex<Result<pid_t, TestFailure>?>(nil)
        let isDone = DispatchSemaphore(value: 0)

        init(_ request: SpawnRequest) { self.request = request }
    }

    private let jobs = Mutex<[Job]>([])
    private let isWanted = DispatchSemaphore(value: 0)

    private init() {
        let thread = Thread { [self] in
            while true {
                isWanted.wait()
                guard let job = jobs.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) else { continue }
                job.outcome.withLock { $0 = Self.spawn(job.request) }
                job.isDone.signal()
            }
        }
        thread.name = "spawner"
        thread.start()
    }

    /// Starts a process in about a millisecond; throws if this fails.
    func spawn(_ request: SpawnRequest) throws -> pid_t {
        let job = Job(request)
        jobs.withLock { $0.append(job) }
        isWanted.signal()
        job.isDone.wait()
        guard let outcome = job.outcome.withLock({ $0 }) else {
            throw TestFailure("\(request.executable): not started")
        }
        return try outcome.get()
    }

    /// `setpriv` asks for the death signal, `env` changes the directory; each becomes the next program, under the
    /// same process id.
    private static func spawn(_ request: SpawnRequest) -> Result<pid_t, TestFailure> {
        guard let setpriv = try? Executables.find("setpriv") else {
            return .failure(TestFailure("setpriv is missing: it comes with the package util-linux"))
        }
        let words =
            [setpriv, "--pdeathsig", "KILL", "--", "env", "-C", request.workingDirectory, request.executable]
            + request.arguments
        let variables = request.environment.map { "\($0.key)=\($0.value)" }.sorted()

        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        let create = O_WRONLY | O_CREAT | O_APPEND
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, request.outputPath, create, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, request.errorPath, create, 0o600)
        // Sockets of this process must not be inherited by a child: their peers would never see them closed.
        for descriptor in 3..<Self.greatestDescriptor { posix_spawn_file_actions_addclose(&actions, descriptor) }

        // Signals have their default state, whatever this process does with its own.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        sigfillset(&signals)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))

        var pid: pid_t = 0
        let problem = withCStrings(words) { words in
            withCStrings(variables) { posix_spawn(&pid, setpriv, &actions, &attributes, words, $0) }
        }
        guard problem == 0 else {
            return .failure(TestFailure("\(request.executable): \(String(cString: strerror(problem)))"))
        }
        return .success(pid)
    }

    /// An upper bound of descriptors. Closing one that is not open is no error.
    private static let greatestDescriptor: Int32 = {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        return Int32(clamping: min(limit.rlim_cur, 4096))
    }()

    /// Calls `body` with a list of C strings that ends with a null pointer, as exec wants it.
    private static func withCStrings<Value>(
        _ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> Value
    ) -> Value {
        let copies = strings.map { strdup($0) }
        defer { for copy in copies { free(copy) } }
        return body(copies + [nil])
    }
}
