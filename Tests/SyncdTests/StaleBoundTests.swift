import Foundation
import Testing

@testable import syncd

@Suite struct StaleBoundTests {
    /// Upper limits of the Poisson distribution, 95 % one-sided, as tables have them.
    @Test(arguments: [(0, 3.0), (1, 4.744), (2, 6.296), (3, 7.754), (5, 10.513), (10, 16.962), (100, 118.079)])
    func `the mean is that of the tables`(count: UInt64, mean: Double) {
        #expect(abs(StaleBound.mean(count) - mean) < 0.001, "\(StaleBound.mean(count))")
    }

    @Test func `the approximation goes on where the sum ends`() {
        let (last, first) = (StaleBound.mean(1000), StaleBound.mean(1001))
        #expect(last < first && first - last < 1.1, "\(last) \(first)")
    }

    /// The share at the bound makes the finding improbable by the binomial distribution, too.
    @Test(arguments: [(0, 10), (0, 1500), (1, 20), (3, 1000), (7, 40)])
    func `a greater share is excluded with 95 percent confidence`(stale: Int, judged: Int) throws {
        let share = try #require(StaleBound.share(stale: UInt64(stale), judged: UInt64(judged)))
        var (term, sum) = (pow(1 - share, Double(judged)), 0.0)
        for count in 0...stale {
            sum += term
            term *= Double(judged - count) / Double(count + 1) * share / (1 - share)
        }
        #expect(sum <= 0.05, "\(sum)")
        #expect(share > Double(stale) / Double(judged))
    }

    @Test func `nothing judged says nothing, and no share is above 1`() {
        #expect(StaleBound.share(stale: 0, judged: 0) == nil)
        #expect(StaleBound.share(stale: 2, judged: 1) == nil)
        #expect(StaleBound.share(stale: 0, judged: 2) == 1)
        #expect(StaleBound.share(stale: 5, judged: 5) == 1)
    }

    @Test(arguments: [
        (0.002, "0.0020", "0.20 %"), (0.000428, "0.00043", "0.043 %"), (0.5, "0.50", "50 %"), (1, "1", "100 %"),
        (0.0312, "0.032", "3.2 %"), (0.00471, "0.0048", "0.48 %"), (0.0000301, "0.000031", "0.0031 %"),
    ])
    func `texts have two digits and are rounded up`(share: Double, text: String, percent: String) {
        #expect(StaleBound.text(share) == text)
        #expect(StaleBound.percent(share) == percent)
    }
}
