import Glibc

/// The bound on the share of stale answers that a number of audits supports.
enum StaleBound {
    /// The greatest share of stale answers that still makes this few of `judged` as likely as 5 %: a share above it is
    /// excluded with 95 % confidence. Exact for a Poisson distribution, which is never below the bound of the binomial
    /// one. None in *n* gives 3/n (the rule of three). `nil` without any audit.
    static func share(stale: UInt64, judged: UInt64) -> Double? {
        guard judged > 0, stale <= judged else { return nil }
        return min(1, mean(stale) / Double(judged))
    }

    /// The mean of the Poisson distribution that has at most `count` with a probability of 5 %.
    static func mean(_ count: UInt64) -> Double {
        // The rule of three, whose exact value is 2.9957.
        if count == 0 { return 3 }
        // Beyond that, the sum is long, and Wilson and Hilferty's approximation is accurate to four digits.
        if count > 1000 { return approximation(count) }
        var (low, high) = (Double(count), 2 * Double(count) + 10)
        for _ in 0..<60 {
            let middle = (low + high) / 2
            if atMost(count, mean: middle) > 0.05 { low = middle } else { high = middle }
        }
        return high
    }

    /// Probability of `count` or fewer.
    private static func atMost(_ count: UInt64, mean: Double) -> Double {
        var (logarithm, sum) = (-mean, exp(-mean))
        for number in stride(from: 1.0, through: Double(count), by: 1) {
            logarithm += log(mean) - log(number)
            sum += exp(logarithm)
        }
        return sum
    }

    private static func approximation(_ count: UInt64) -> Double {
        let degrees = 2 * Double(count) + 2
        let ninth = 2 / (9 * degrees)
        let root = 1 - ninth + 1.644854 * ninth.squareRoot()
        return degrees / 2 * root * root * root
    }

    /// A share as a decimal number, rounded up to two digits.
    static func text(_ share: Double) -> String {
        guard share > 0, share < 1 else { return share > 0 ? "1" : "0" }
        let digits = min(18, max(2, Int((-log10(share)).rounded(.up)) + 1))
        let scale = pow(10, Double(digits))
        return fixed((share * scale - 1e-9).rounded(.up) / scale, digits)
    }

    /// A share as percent, as ``text(_:)``.
    static func percent(_ share: Double) -> String {
        let percent = share * 100
        guard percent < 10 else { return "\(Int(min(100, percent.rounded(.up)))) %" }
        return "\(percent >= 1 ? fixed((percent * 10 - 1e-9).rounded(.up) / 10, 1) : text(percent)) %"
    }

    private static func fixed(_ number: Double, _ digits: Int) -> String {
        let scaled = UInt64((number * pow(10, Double(digits))).rounded())
        let text = String(scaled)
        let padded = String(repeating: "0", count: max(0, digits + 1 - text.count)) + text
        return "\(padded.dropLast(digits)).\(padded.suffix(digits))"
    }
}
