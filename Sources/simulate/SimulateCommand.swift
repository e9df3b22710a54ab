import ArgumentParser
import Glibc
import IPCWire

/// `simulate`: runs the real state machines in a world that is generated from a seed, and checks the promises.
@main
struct SimulateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Runs syncd's engine and its workers in simulated worlds full of faults, and checks the promises.",
        discussion: """
            One seed is one world: hosts, workers, Redis, MongoDB, sockets and clocks. The same seed gives the same \
            run. Exits with status 1 when a promise was broken, 2 when a rare situation was never reached.
            """)

    @Option(help: "One seed to run.")
    var seed: UInt64?

    @Option(help: "Many seeds to run: first..last.")
    var seeds: SeedRange?

    @Option(help: "Run seeds from the first one on until this number of seconds has passed.")
    var time: Int?

    @Option(help: "Number of events of each world before faults end.")
    var steps = 2000

    @Option(help: "Number of concurrent processes; by default the number of processors.")
    var jobs: Int?

    @Flag(help: "Print all events (for one seed).")
    var trace = false

    @Flag(help: "Run every seed twice and compare the hashes of all events.")
    var checkDeterminism = false

    @Flag(help: "Workers use the additional features of docs/cache.md.")
    var cacheFeatures = false

    @Option(
        help:
            "An action that is made frequent, for instance a race: \(Plan.Action.allCases.map(\.rawValue).joined(separator: ", "))."
    )
    var often: Plan.Action?

    @Flag(help: "Do not fail when a rare situation was never reached.")
    var allowMissingGoals = false

    #if MUTANTS
        @Option(help: "The rule to break.")
        var mutant: Mutant?
    #endif

    /// Runs the seeds in this process, for the process that collects the results.
    @Flag(help: .hidden)
    var batch = false

    func validate() throws {
        guard steps > 0, jobs.map({ $0 > 0 }) ?? true, time.map({ $0 > 0 }) ?? true else {
            throw ValidationError("--steps, --jobs and --time must be greater than 0")
        }
        guard seed == nil || seeds == nil else { throw ValidationError("--seed and --seeds exclude each other") }
    }

    mutating func run() throws {
        try Self.makeHashingDeterministic()
        #if MUTANTS
            Mutant.active = mutant
        #endif
        guard Simulation.prepare() else {
            throw ValidationError("this Swift runtime does not let its jobs be taken: no simulation")
        }
        if let seed {
            try runOne(seed)
        } else if batch, let seeds {
            let isFine = Campaign.runBatch(
                seeds, steps: steps, isCheckingDeterminism: checkDeterminism, variation: variation)
            if !isFine { throw ExitCode(1) }
        } else {
            let range = seeds ?? SeedRange(first: 1, last: time == nil ? 100 : .max)
            let campaign = Campaign(
                seeds: range, steps: steps, seconds: time,
                jobs: jobs ?? max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))), isCheckingDeterminism: checkDeterminism,
                variation: variation)
            try campaign.run(allowMissingGoals: allowMissingGoals)
        }
    }

    private var variation: Variation { Variation(hasCacheFeatures: cacheFeatures, often: often) }

    private func runOne(_ seed: UInt64) throws {
        let result = Simulation(seed: seed, steps: steps, isTracing: trace, variation: variation).run()
        print("seed \(seed)  steps \(result.steps)  trace hash \(String(result.hash, radix: 16))")
        if checkDeterminism {
            let again = Simulation(seed: seed, steps: steps, isTracing: false, variation: variation).run()
            guard again.hash == result.hash else {
                print("NOT DETERMINISTIC: \(String(again.hash, radix: 16)) the second time")
                throw ExitCode(1)
            }
        }
        guard let violation = result.violation else {
            for (name, count) in result.figures.counts.sorted(by: { $0.key < $1.key }) { print("  \(name): \(count)") }
            return
        }
        print(Campaign.report(violation, seed: seed, steps: steps, variation: variation, result: result))
        throw ExitCode(1)
    }

    /// Dictionaries are in another order in every process unless this variable is set before it starts.
    private static func makeHashingDeterministic() throws {
        guard getenv("SWIFT_DETERMINISTIC_HASHING") == nil else { return }
        setenv("SWIFT_DETERMINISTIC_HASHING", "1", 1)
        var arguments: [UnsafeMutablePointer<CChar>?] = CommandLine.arguments.map { strdup($0) }
        arguments.append(nil)
        execv("/proc/self/exe", arguments)
        throw ValidationError("the program cannot start itself again: \(String(cString: strerror(errno)))")
    }
}

extension Plan.Action: ExpressibleByArgument {}

#if MUTANTS
    extension Mutant: ExpressibleByArgument {}
#endif

/// `first..last`.
struct SeedRange: ExpressibleByArgument {
    var first: UInt64
    var last: UInt64

    init(first: UInt64, last: UInt64) {
        self.first = first
        self.last = last
    }

    init?(argument: String) {
        let ends = argument.split(separator: ".", omittingEmptySubsequences: true)
        guard ends.count == 2, let first = UInt64(ends[0]), let last = UInt64(ends[1]), first <= last else {
            return nil
        }
        self.init(first: first, last: last)
    }
}
