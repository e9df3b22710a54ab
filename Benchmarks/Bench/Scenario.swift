/// Rows that are measured together, on the same servers.
enum Scenario: String, CaseIterable {
    case l1
    case shared
    case fetch
    case fetchRedis = "fetch-redis"
    case invalidate
    case positions
    case workers
    case hotKey = "hot-key"
    case workersMemory = "workers-memory"
    case append
    case http
    case misses
    case put
    case feed
    case start
    case memory

    /// The rows of a scenario.
    var rows: String {
        switch self {
        case .l1: "l1-hit"
        case .shared: "shared-hit, its time, and with 10 and 100 KiB, beside their limit"
        case .fetch: "fetch-p50, fetch-p99, fetch-pipelined"
        case .fetchRedis: "fetch-redis-p50, fetch-redis-rate"
        case .invalidate:
            "invalidate-embedded, invalidate-redis-p50, -p99, invalidate-second-host-p50, -p99, beside their limit"
        case .positions: "position-read, position-stale"
        case .workers: "invalidate-8-workers, invalidate-64-workers, invalidate-64-listeners"
        case .hotKey: "hot-key, hot-key-at-once, and the processor time of each"
        case .workersMemory: "workers-memory-shared, workers-memory"
        case .append: "append-rate, append-embedded-rate"
        case .http: "http-graph, http-stats, and their yardsticks beside SwiftNIO alone"
        case .misses: "miss-users, miss-stats, miss-graph, beside their limit, and the processor time of each"
        case .put: "put, put-without-syncd"
        case .feed: "feed-visible-p50, -p99, feed-takeover, feed-step-down, feed-echoes, feed-cost"
        case .start: "start-empty, start-100k"
        case .memory: "memory-idle"
        }
    }

    func run(rounds: Int) async throws -> [Measured] {
        switch self {
        case .l1: try await Self.l1(rounds)
        case .shared: try await Self.shared(rounds)
        case .fetch: try await Self.fetch(rounds)
        case .fetchRedis: try await Self.fetchRedis(rounds)
        case .invalidate: try await Self.invalidate(rounds)
        case .positions: try await Self.positions(rounds)
        case .workers: try await Self.workers(rounds)
        case .hotKey: try await Self.hotKey(rounds)
        case .workersMemory: try await Self.workersMemory(rounds)
        case .append: try await Self.append(rounds)
        case .http: try await Self.http(rounds)
        case .misses: try await Self.misses(rounds)
        case .put: try await Self.put(rounds)
        case .feed: try await Self.feed(rounds)
        case .start: try await Self.start(rounds)
        case .memory: try await Self.memory(rounds)
        }
    }
}
