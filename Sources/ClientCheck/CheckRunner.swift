/// Runs all checks with a client, one after the other, each with a new process of the client.
package struct CheckRunner: Sendable {
    package enum Verdict: Sendable, Hashable {
        case kept
        case broken(String)
        /// The check does not apply to this client, with the reason.
        case skipped(String)
    }

    var launch: CheckStage.Launch
    /// Reports the progress, line by line.
    var say: @Sendable (String) -> Void

    package init(launch: @escaping CheckStage.Launch, say: @escaping @Sendable (String) -> Void = { _ in }) {
        self.launch = launch
        self.say = say
    }

    /// How often a check that measures times is repeated before its rule counts as broken.
    private static let attempts = 3

    /// The traits of the client.
    func traits() async throws -> ClientTraits {
        let stage = try await CheckStage(launch, traits: ClientTraits())
        do {
            let traits = try await probe(stage)
            await stage.end()
            return traits
        } catch {
            let complaints = stage.client.complaints
            await stage.end()
            throw BrokenRule("\(error)" + (complaints.isEmpty ? "" : "\n\(complaints)"))
        }
    }

    private func probe(_ stage: CheckStage) async throws -> ClientTraits {
        try await stage.waitUntilConnected()
        _ = try await stage.load("probe", 1)
        let (fetches, loads) = (stage.syncd.fetches("probe"), stage.database.loads("probe"))
        try await stage.read("probe")
        var traits = ClientTraits()
        traits.keepsValues = stage.syncd.fetches("probe") == fetches && stage.database.loads("probe") == loads
        stage.syncd.share("2", as: "shared")
        traits.readsArena = try await stage.read("shared") == "2" && stage.syncd.fetches("shared") == 0
        traits.mapsTable = SystemFiles.isMapped(stage.syncd.tablePath, byGroup: stage.client.processGroup)
        for heard in stage.syncd.heard {
            if case .hello(.v3, _) = heard.request { traits.isModern = true }
            if case .fetch(_, _?) = heard.request { traits.waits = true }
        }
        return traits
    }

    /// Runs the checks.
    ///
    /// - Parameter names: which ones; empty: all.
    package func run(_ names: [String] = []) async throws -> [(check: ClientRule, verdict: Verdict)] {
        let traits = try await traits()
        say("The client \(traits.summary).")
        var verdicts: [(ClientRule, Verdict)] = []
        for check in ClientRule.all where names.isEmpty || names.contains(check.name) {
            let verdict = await verdict(on: check, traits)
            switch verdict {
            case .kept: say("ok       \(check.name)")
            case .skipped(let why): say("skipped  \(check.name): \(why)")
            case .broken(let how):
                let lines = how.split(separator: "\n").map { "         \($0)" }.joined(separator: "\n")
                say("BROKEN   \(check.name): \(check.rule)\n\(lines)")
            }
            verdicts.append((check, verdict))
        }
        return verdicts
    }

    private func verdict(on check: ClientRule, _ traits: ClientTraits) async -> Verdict {
        if let need = check.need, !check.concerns(traits) { return .skipped(need.rawValue) }
        var verdict = Verdict.kept
        for _ in 0..<(check.isTimed ? Self.attempts : 1) {
            verdict = await play(check, traits)
            if verdict == .kept { break }
        }
        return verdict
    }

    private func play(_ check: ClientRule, _ traits: ClientTraits) async -> Verdict {
        let stage: CheckStage
        do {
            stage = try await CheckStage(launch, traits: traits)
        } catch {
            return .broken("\(error)")
        }
        var verdict = Verdict.kept
        do {
            try await stage.waitUntilConnected()
            try await check.play(stage)
        } catch {
            let complaints = stage.client.complaints
            verdict = .broken("\(error)" + (complaints.isEmpty ? "" : "\n" + complaints))
        }
        await stage.end()
        return verdict
    }
}
