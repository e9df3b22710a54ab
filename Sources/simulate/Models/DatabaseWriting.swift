import IPCWire

extension Database {
    /// How a command that writes goes.
    private struct Journey {
        enum Outcome { case refused, answered, unknown }

        var outcome: Outcome
        /// The time when it reaches the register; `nil`: never.
        var landing: UInt64?
        /// The time when the caller knows the outcome, or gives up.
        var end: UInt64
        /// For an unknown outcome, the time when the process knows that the write cannot land any more.
        var over: UInt64 = 0
    }

    private func journey(of write: Write) -> Journey {
        let isSlow = world.random.percent(plan.slowWrites)
        let held = held(write.worker)
        let soon = write.landing ?? min(latency(isSlow: isSlow), Self.patience) + held
        let back = latency(isSlow: isSlow)
        let fate = write.fate == .chance ? world.random.below(100) : write.fate == .sound ? 100 : plan.failingWrites - 1
        if write.fate == .chance, fate < plan.failingWrites / 2 {
            return Journey(outcome: .refused, end: min(soon, Self.patience))
        }
        if fate >= plan.failingWrites, soon <= Self.patience, write.fate != .unknown {
            return Journey(outcome: .answered, landing: soon, end: soon + back)
        }
        figures.add("writes of unknown outcome")
        // The caller gives up at some time; the write lands before it, after it, or never.
        let limit = latestLanding(write)
        let late = world.random.number(0...(world.random.oneIn(2) ? min(limit, Self.patience) : limit))
        let chosen = write.landing ?? (world.random.oneIn(3) ? nil : max(late, held))
        let landing = chosen.flatMap { $0 <= limit ? $0 : nil }
        let over = (landing ?? world.random.number(0...limit)) + back
        return Journey(
            outcome: .unknown, landing: landing, end: world.random.number(0...Self.patience), over: max(over, held))
    }

    /// The time when the server ends a transaction whose client is gone.
    var latestTransaction: UInt64 { breaks(.deadlineMissing) ? 3 * plan.transactionLifetime : plan.transactionLifetime }

    /// The time after which the server refuses the write.
    private func latestLanding(_ write: Write) -> UInt64 {
        write.isTransaction || breaks(.deadlineMissing) ? latestTransaction : Self.patience
    }

    /// Returns when all of it has landed, or throws.
    func carryOut(_ write: Write) async throws {
        defer { write.endedAt = world.now }
        if write.isTransaction || write.parts.count == 1 { return try await command(write, write.parts.indices) }
        try await command(write, 0..<1)
        do {
            try await command(write, 1..<2)
        } catch {
            // The first half is taken back, if that is possible. Others may have seen it.
            if let former = write.parts[0].former, write.parts[0].version != nil {
                figures.add("goal: half of a write taken back")
                write.parts.append(Write.Part(key: write.parts[0].key, content: former))
                try? await command(write, 2..<3)
            }
            throw DatabaseError.timedOut
        }
    }

    /// Sends what changes some parts of a write at once.
    private func command(_ write: Write, _ parts: Range<Int>) async throws {
        let process = write.worker
        let journey = journey(of: write)
        let begin = world.now
        try await withUnsafeThrowingContinuation { (continuation: UnsafeContinuation<Void, any Error>) in
            if let landing = journey.landing {
                world.after(landing, nil, "write lands") { [self] in land(write, parts) }
            }
            switch journey.outcome {
            case .answered:
                world.after(journey.end, process, "write answered") { [self] in
                    guard write.parts[parts].contains(where: \.isUncommitted) else { return continuation.resume() }
                    // No majority has it in time.
                    world.at(max(world.now, begin + Self.patience), process, "write timed out") { [self] in
                        figures.add("writes of unknown outcome")
                        write.becameUnknown()
                        continuation.resume(throwing: DatabaseError.timedOut)
                        world.after(latency(isSlow: false), process, "outcome known") { write.becameKnown() }
                    }
                }
            case .refused:
                world.after(journey.end, process, "write refused") {
                    continuation.resume(throwing: DatabaseError.refused)
                }
            case .unknown:
                write.becameUnknown()
                world.after(journey.end, process, "write timed out") {
                    continuation.resume(throwing: DatabaseError.timedOut)
                }
                world.after(journey.over, process, "outcome known") { write.becameKnown() }
            }
        }
    }

    /// The client is told the state that the write found, also if the write changes nothing.
    private func land(_ write: Write, _ parts: Range<Int>) {
        let isAlone = world.now < aloneUntil
        for index in parts {
            var part = write.parts[index]
            let key = part.key
            if let content = part.content, content != contents[key] {
                part.former = contents[key]
                if isAlone, formerContents[key] == nil { formerContents[key] = contents[key] }
                change(key, to: content)
                part.version = versions[key]
            } else {
                figures.add("goal: write changed nothing")
            }
            part.seen = versions[key]
            part.isUncommitted = isAlone
            if write.endedAt == nil { part.seenAtEnd = part.seen }
            write.parts[index] = part
        }
        let changed = write.parts[parts].filter { $0.version != nil && $0.version == versions[$0.key] }.map(\.key)
        if plan.hasFeed, !changed.isEmpty { write.change = note(changed, isUncommitted: isAlone) }
        if isAlone { uncommitted.append(write) }
        if write.parts.count > 1, write.isTransaction { figures.add("goal: transaction changed two keys") }
        for part in write.parts[parts] where part.version != nil { landed(write, part) }
    }

    func change(_ key: Int, to content: Int) {
        contents[key] = content
        versions[key] += 1
        changedAt[key] = world.now
    }

    // MARK: Failover

    /// The primary loses the other members for some time. It takes writes, which nobody is told of, and shows them to
    /// readers. Then the others are back, or one of them is the primary and has nothing of that.
    func beAlone(for duration: UInt64, isDeposed: Bool) {
        guard world.now >= aloneUntil else { return }
        aloneUntil = world.now + duration
        world.after(duration, nil, "primary not alone") { [self] in
            let (writes, former) = (uncommitted, formerContents)
            (uncommitted, formerContents) = ([], [:])
            endUncommitted(isDeposed: isDeposed)
            guard isDeposed else {
                for write in writes {
                    for index in write.parts.indices { write.parts[index].isUncommitted = false }
                }
                return
            }
            for key in former.keys.sorted() {
                guard let content = former[key], content != contents[key] else { continue }
                change(key, to: content)
                figures.add("goal: write rolled back")
                rolledBack(key, versions[key], writes.filter { $0.parts.contains { $0.key == key } })
            }
        }
    }
}
