import ArgumentParser
import Glibc
import IPCWire

/// Runs many seeds on several processors: each child process runs some of them, and reports the results through a pipe.
///
/// A child runs one batch only: tasks of killed workers never end, so their memory is freed only with its process.
struct Campaign {
    let seeds: SeedRange
    let steps: Int
    let seconds: Int?
    let jobs: Int
    let isCheckingDeterminism: Bool
    let variation: Variation

    private static let batch: UInt64 = 50

    private struct Child {
        var pid: pid_t
        var pipe: Int32
        var first: UInt64
        var output: [UInt8] = []
    }

    /// The text of a violation.
    static func report(
        _ violation: Violation, seed: UInt64, steps: Int, variation: Variation, result: Simulation.Result
    ) -> String {
        let options = variation.words.map { " " + $0 }.joined()
        return
            (["VIOLATION  seed \(seed)  step \(result.steps)", "  \(violation.what)", "  the last of what happened:"]
            + result.trace.map { "    \($0)" }
            + ["  reproduce: simulate --seed \(seed) --steps \(steps)\(options) --trace"]).joined(separator: "\n")
    }

    func run(allowMissingGoals: Bool) throws {
        var children: [Child] = []
        var next = seeds.first
        var isExhausted = false
        var figures = Figures()
        var reports: [String] = []
        let end = seconds.map { time(nil) + $0 }
        while true {
            while children.count < jobs, !isExhausted, reports.isEmpty, end.map({ time(nil) < $0 }) ?? true {
                let last = seeds.last - next < Self.batch ? seeds.last : next + Self.batch - 1
                children.append(try start(next, last))
                isExhausted = last == seeds.last
                next = last + 1
            }
            guard !children.isEmpty else { break }
            try collect(&children, &figures, &reports)
        }
        try summarize(figures, reports, allowMissingGoals: allowMissingGoals)
    }

    // MARK: Children

    private func start(_ first: UInt64, _ last: UInt64) throws -> Child {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw ValidationError("no pipe: \(String(cString: strerror(errno)))") }
        fflush(nil)
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        posix_spawn_file_actions_addclose(&actions, ends[0])
        var words = ["simulate", "--batch", "--seeds", "\(first)..\(last)", "--steps", String(steps)]
        if isCheckingDeterminism { words.append("--check-determinism") }
        words += variation.words
        if let mutant = Mutant.active { words += ["--mutant", mutant.rawValue] }
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        var pid: pid_t = 0
        let result = posix_spawn(&pid, "/proc/self/exe", &actions, nil, &arguments, environ)
        close(ends[1])
        guard result == 0 else { throw ValidationError("no child process: \(String(cString: strerror(result)))") }
        return Child(pid: pid, pipe: ends[0], first: first)
    }

    /// Waits for output of any child.
    private func collect(_ children: inout [Child], _ figures: inout Figures, _ reports: inout [String]) throws {
        var polls = children.map { pollfd(fd: $0.pipe, events: Int16(POLLIN), revents: 0) }
        guard poll(&polls, nfds_t(polls.count), -1) > 0 else { return }
        for index in polls.indices.reversed() where polls[index].revents != 0 {
            var chunk = [UInt8](repeating: 0, count: 65_536)
            let count = read(children[index].pipe, &chunk, chunk.count)
            if count > 0 {
                children[index].output += chunk[..<count]
                continue
            }
            let child = children.remove(at: index)
            close(child.pipe)
            var status: Int32 = 0
            waitpid(child.pid, &status, 0)
            parse(String(decoding: child.output, as: UTF8.self), &figures, &reports)
            if status != 0, reports.isEmpty {
                reports.append("VIOLATION  a process that ran seeds from \(child.first) on crashed (status \(status))")
            }
        }
    }

    private func parse(_ output: String, _ figures: inout Figures, _ reports: inout [String]) {
        var report: [Substring] = []
        for line in output.split(separator: "\n") {
            if line.hasPrefix("#"), let space = line.lastIndex(of: " "),
                let count = Int(line[line.index(after: space)...])
            {
                figures.add(String(line[line.index(after: line.startIndex)..<space]), count)
            } else {
                report.append(line)
            }
        }
        if !report.isEmpty { reports.append(report.joined(separator: "\n")) }
    }

    /// The work of a child.
    static func runBatch(_ seeds: SeedRange, steps: Int, isCheckingDeterminism: Bool, variation: Variation) -> Bool {
        var figures = Figures()
        var isFine = true
        var seed = seeds.first
        while true {
            let result = Simulation(seed: seed, steps: steps, isTracing: false, variation: variation)
                .run()
            figures.merge(result.figures)
            figures.add("seeds")
            if let violation = result.violation {
                print(report(violation, seed: seed, steps: steps, variation: variation, result: result))
                isFine = false
                break
            }
            if isCheckingDeterminism {
                let again = Simulation(seed: seed, steps: steps, isTracing: false, variation: variation)
                    .run()
                if again.hash != result.hash {
                    print("VIOLATION  seed \(seed): the second run was another one")
                    isFine = false
                    break
                }
            }
            if seed == seeds.last { break }
            seed += 1
        }
        for (name, count) in figures.counts.sorted(by: { $0.key < $1.key }) { print("#\(name) \(count)") }
        return isFine
    }

    // MARK: The end

    private func summarize(_ figures: Figures, _ reports: [String], allowMissingGoals: Bool) throws {
        for (name, count) in figures.counts.sorted(by: { $0.key < $1.key }) { print("\(name): \(count)") }
        for report in reports { print(report) }
        guard reports.isEmpty else { throw ExitCode(1) }
        let missing = figures.missing
        for goal in missing { print("never reached: \(goal)") }
        print("\(figures["seeds"]) seeds, \(figures["steps"]) steps, no violation")
        if !missing.isEmpty, !allowMissingGoals { throw ExitCode(2) }
    }
}
