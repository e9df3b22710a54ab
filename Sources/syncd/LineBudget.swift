import IPCWire

/// A limit for log lines about faults of clients: one client that connects and fails again and again must not fill the
/// disk.
struct LineBudget {
    /// Lines in each period.
    static let lines = 20
    static let periodNanoseconds: UInt64 = 10_000_000_000

    private var began: BootTime = 0
    private var count = 0
    private var omitted = 0

    /// Whether a line may be written at `now`. If so, `omitted` is the number of lines that were not written since the
    /// last one.
    mutating func take(_ now: BootTime) -> (isAllowed: Bool, omitted: Int) {
        if count == 0 || now >= began + Self.periodNanoseconds { (began, count) = (now, 0) }
        guard count < Self.lines else {
            omitted += 1
            return (false, 0)
        }
        count += 1
        defer { omitted = 0 }
        return (true, omitted)
    }
}
