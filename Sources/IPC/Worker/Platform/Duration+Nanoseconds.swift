extension Duration {
    /// Nanoseconds, from 0 to the greatest that 64 bits hold: about 584 years.
    var wholeNanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        guard seconds >= 0, attoseconds >= 0 else { return 0 }
        let (whole, overflow) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
        let (sum, isGreater) = whole.addingReportingOverflow(UInt64(attoseconds) / 1_000_000_000)
        return overflow || isGreater ? .max : sum
    }
}
