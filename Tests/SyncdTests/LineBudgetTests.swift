import IPCWire
import Testing

@testable import syncd

@Suite struct LineBudgetTests {
    @Test func `lines beyond the limit are counted and told with the next one`() {
        var budget = LineBudget()
        let times =
            Array(repeating: 1, count: LineBudget.lines + 3) + [0, 1, 2].map { $0 + LineBudget.periodNanoseconds }
        let lines = times.map { budget.take(BootTime($0)) }
        #expect(lines.prefix(LineBudget.lines).allSatisfy { $0 == (true, 0) })
        #expect(lines[LineBudget.lines...].map(\.isAllowed) == [false, false, false, false, true, true])
        #expect(lines.suffix(2).map(\.omitted) == [4, 0])
    }
}
