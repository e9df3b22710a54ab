import IPCWire

/// Variations of a seed by command line options.
struct Variation {
    /// Workers use the additional features of docs/cache.md.
    var hasCacheFeatures = false
    /// An action that is made frequent.
    var often: Plan.Action?

    /// The variation as command line arguments.
    var words: [String] {
        (hasCacheFeatures ? ["--cache-features"] : []) + (often.map { ["--often", $0.rawValue] } ?? [])
    }
}

/// One seed from its begin to its end.
struct Simulation {
    struct Result {
        var violation: Violation?
        var hash: UInt64
        var steps: Int
        var figures: Figures
        /// The last events, if a check failed.
        var trace: [String]
    }

    let seed: UInt64
    let steps: Int
    let isTracing: Bool
    var variation = Variation()

    /// Time for the recovery after the faults, in ns.
    static let recovery: UInt64 = 11_000_000_000

    // Unchecked: set and read by the one thread that runs simulations, one after the other.
    nonisolated(unsafe) private static var world: World?

    /// Must be called once, before the first run. Returns whether runs will be deterministic.
    static func prepare() -> Bool { JobHook.install { job in world?.enqueue(job) } }

    func run() -> Result {
        let world = World(seed: seed, isTracing: isTracing)
        Self.world = world
        var plan = Plan(seed: seed)
        plan.vary(variation)
        let driver = Driver(world: world, plan: plan)
        let oracle = driver.oracle
        while world.steps < steps, oracle.violation == nil, world.step() {}
        let stepsWithFaults = world.steps
        if oracle.violation == nil { calm(driver, world) }
        var figures = oracle.figures
        figures.merge(driver.database.figures)
        figures.add("steps", world.steps)
        figures.add("steps with faults", stepsWithFaults)
        figures.add("simulated ms", Int((world.now.number - 1_000_000_000_000) / 1_000_000))
        let trace = oracle.violation.map { world.record.last(80, about: $0.key) } ?? []
        return Result(
            violation: oracle.violation, hash: world.record.hash, steps: world.steps, figures: figures, trace: trace)
    }

    private func calm(_ driver: Driver, _ world: World) {
        let oracle = driver.oracle
        driver.calmDown()
        driver.expectChanges(by: 4_500_000_000, seenBy: 6_000_000_000)
        let end = world.now + Self.recovery
        // Reads run from the start, so that every worker is checked; the last of them count as hits.
        driver.lastRead = end - 4_000_000_000
        driver.readEverywhere(every: 400_000_000, until: driver.lastRead)
        world.run(until: end - 1_000_000_000, while: { oracle.violation == nil })
        let progress = driver.progress()
        world.run(until: end, while: { oracle.violation == nil })
        guard oracle.violation == nil else { return }
        driver.checkCalm()
        driver.checkRest(since: progress)
    }
}
