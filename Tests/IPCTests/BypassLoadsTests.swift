import NIOCore
import Synchronization
import TestSupport
import Testing

@testable import IPC

/// A load that is answered by hand.
final class Loads: Sendable {
    private struct State {
        var begun = 0
        var cancelled = 0
        var waiting: [Int: CheckedContinuation<ByteBuffer?, any Error>] = [:]
    }

    private let state = Mutex(State())

    var begun: Int { state.withLock { $0.begun } }
    var cancelled: Int { state.withLock { $0.cancelled } }

    /// Waits until it is answered, or until it is cancelled.
    func load() async throws -> ByteBuffer? {
        let number = state.withLock { state in
            state.begun += 1
            return state.begun
        }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let isCancelled = state.withLock { state in
                    if Task.isCancelled { return true }
                    state.waiting[number] = continuation
                    return false
                }
                if isCancelled { continuation.resume(throwing: CancellationError()) }
            }
        } onCancel: {
            state.withLock { state in
                state.cancelled += 1
                return state.waiting.removeValue(forKey: number)
            }?.resume(throwing: CancellationError())
        }
    }

    /// Answers the load with this number, counted from 1, as soon as it has begun.
    func answer(_ number: Int, _ result: Result<ByteBuffer?, any Error>) async {
        await eventually("load \(number) begins") { state.withLock { $0.waiting[number] != nil } }
        state.withLock { $0.waiting.removeValue(forKey: number) }?.resume(with: result)
    }

    func answer(_ number: Int, _ text: String) async { await answer(number, .success(ByteBuffer(string: text))) }
}

struct LoadFailed: Error {}

@Suite struct BypassLoadsTests {
    private let loads = Loads()
    private let key: CacheKey = "k"

    private func ask(_ direct: BypassLoads, _ key: CacheKey) -> Task<String, any Error> {
        Task { [loads] in
            let value = try await direct.value(for: key, load: { try await loads.load() })
            return value.map { String(buffer: $0) } ?? "nil"
        }
    }

    @Test func `who comes while a load runs shares the next one`() async throws {
        let direct = BypassLoads(limit: 8)
        let first = ask(direct, key)
        await eventually("the first begins") { loads.begun == 1 }
        let later = (0..<5).map { _ in ask(direct, key) }
        await eventually("all are there") { direct.waitingCount == 6 }
        await loads.answer(1, "old")
        #expect(try await first.value == "old")
        await loads.answer(2, "new")
        for task in later { #expect(try await task.value == "new") }
        #expect(loads.begun == 2)
        #expect(direct.waitingCount == 0)
    }

    @Test func `loads at once are bounded and go in turn`() async throws {
        let direct = BypassLoads(limit: 2)
        var tasks: [Task<String, any Error>] = []
        for index in 0..<5 {
            tasks.append(ask(direct, "key \(index)"))
            await eventually("it is there") { direct.waitingCount == index + 1 }
        }
        await eventually("two have begun") { loads.begun == 2 }
        #expect(direct.runningCount == 2)
        for number in 1...5 {
            await loads.answer(number, "\(number)")
            #expect(direct.runningCount <= 2)
        }
        for (index, task) in tasks.enumerated() where index > 1 {
            #expect(try await task.value == "\(index + 1)", "the order of arrival")
        }
    }

    @Test func `who waits for its turn can be joined`() async throws {
        let direct = BypassLoads(limit: 1)
        let other = ask(direct, "other")
        await eventually("the slot is taken") { loads.begun == 1 }
        let tasks = (0..<3).map { _ in ask(direct, key) }
        await eventually("all are there") { direct.waitingCount == 4 }
        await loads.answer(1, "other")
        await loads.answer(2, "value")
        for task in tasks { #expect(try await task.value == "value") }
        #expect(try await other.value == "other")
        #expect(loads.begun == 2)
    }

    @Test func `one that is cancelled doesn't take the others along`() async throws {
        let direct = BypassLoads(limit: 1)
        let blocker = ask(direct, "other")
        await eventually("the slot is taken") { loads.begun == 1 }
        let first = ask(direct, key)
        await eventually("it waits") { direct.waitingCount == 2 }
        let second = ask(direct, key)
        await eventually("both wait") { direct.waitingCount == 3 }
        first.cancel()
        await #expect(throws: CancellationError.self) { try await first.value }
        await loads.answer(1, "x")
        await loads.answer(2, "value")
        #expect(try await second.value == "value")
        _ = try await blocker.value
    }

    @Test func `when nobody is left the load is cancelled, or never begun`() async throws {
        let direct = BypassLoads(limit: 1)
        let running = ask(direct, key)
        await eventually("it begins") { loads.begun == 1 }
        let waiting = ask(direct, "other")
        await eventually("it waits") { direct.waitingCount == 2 }
        waiting.cancel()
        await #expect(throws: CancellationError.self) { try await waiting.value }
        running.cancel()
        await #expect(throws: CancellationError.self) { try await running.value }
        await eventually("the load is cancelled") { loads.cancelled == 1 && direct.runningCount == 0 }
        #expect(loads.begun == 1)
        let next = ask(direct, key)
        await loads.answer(2, "value")
        #expect(try await next.value == "value")
    }

    @Test func `an error reaches those who shared the load, not the next`() async throws {
        let direct = BypassLoads(limit: 1)
        let first = ask(direct, key)
        await eventually("it begins") { loads.begun == 1 }
        let second = ask(direct, key)
        await eventually("it waits") { direct.waitingCount == 2 }
        await loads.answer(1, .failure(LoadFailed()))
        await #expect(throws: LoadFailed.self) { try await first.value }
        await loads.answer(2, "value")
        #expect(try await second.value == "value")
    }
}
