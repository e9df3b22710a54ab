import TestSupport
import Testing

/// The trait `.processes`.
@Suite struct ProcessSlotsTests {
    @Test func `a test that hangs fails, and those behind it have their turn`() async throws {
        let test = try #require(Test.current)
        let slots = ProcessSlots(limit: .milliseconds(10))
        for _ in 0..<6 {
            await #expect(throws: TestFailure.self) {
                try await slots.provideScope(for: test, testCase: Test.Case.current) {
                    try await Task.sleep(for: .seconds(600))
                }
            }
        }
    }

    @Test func `a failure of the test is passed on`() async throws {
        struct Failure: Error {}
        let test = try #require(Test.current)
        await #expect(throws: Failure.self) {
            try await ProcessSlots(limit: .seconds(600)).provideScope(for: test, testCase: Test.Case.current) {
                throw Failure()
            }
        }
    }
}
