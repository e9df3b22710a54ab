extension FaultHistory {
    /// Counters of the history.
    struct Figures: Sendable {
        var reads = 0
        var judgedByObservation = 0
        var readsWithPosition = 0
        var acknowledged: [String: Int] = [:]
        var observations = 0
        var unknown = 0
        var unavailable = 0
        var sources: [String: Int] = [:]
        var applied: [String: Int] = [:]
        /// The first ones of each kind; all are counted.
        var stale: [String] = []
        var staleCount = 0
        /// By what showed that the read should have been newer.
        var staleAfter: [String: Int] = [:]
        var firstStale: [String: Int] = [:]
        var failures: [String] = []
        var failureCount = 0
        var slowest = Duration.zero

        static let notesKeptOfAKind = 20
        private static let notesKept = 200

        static func note(_ text: String, _ notes: inout [String], _ count: inout Int) {
            count += 1
            if notes.count < notesKept { notes.append(text) }
        }

        var summary: String {
            func sorted(_ table: [String: Int]) -> String {
                table.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
            }
            return """
                reads \(reads) (\(sorted(sources))), slowest \(slowest), with a position \(readsWithPosition)
                writes \(acknowledged.values.reduce(0, +)) (\(sorted(acknowledged)))
                of unknown outcome \(unknown), 503 \(unavailable)
                seen in the database \(observations), states judged by that \(judgedByObservation)
                stale \(staleCount)\(staleAfter.isEmpty ? "" : " (after \(sorted(staleAfter)))"), failed \(failureCount)
                faults: \(sorted(applied))
                """
        }
    }
}
