import Glibc

/// The limit of open descriptors of this process.
public enum DescriptorLimit {
    /// With fewer, not even an event loop can be made.
    static let least = 64

    /// Raises the limit as far as this process may, which is recommended for programs that don't use select(2): a shell
    /// gives 1024, fewer than a worker has connections.
    ///
    /// - Throws: the limit is too low nevertheless.
    public static func raise() throws(ConfigurationError) {
        let limit = raised()
        guard limit >= least else {
            throw ConfigurationError(
                key: nil,
                "at most \(limit) descriptors can be open, \(least) are the least: raise the limit (ulimit -n, LimitNOFILE=)"
            )
        }
    }

    /// - Returns: the limit from now on.
    package static func raised() -> Int {
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        var limit = rlimit()
        guard getrlimit(resource, &limit) == 0 else { return 0 }
        var raised = limit
        raised.rlim_cur = limit.rlim_max
        return Int(clamping: setrlimit(resource, &raised) == 0 ? raised.rlim_cur : limit.rlim_cur)
    }
}
