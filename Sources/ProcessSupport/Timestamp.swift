import Notation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// A time as the log and `syncd events` show it: UTC, in milliseconds.
package struct Timestamp: CustomStringConvertible {
    var seconds: Int
    var milliseconds: Int

    package static var now: Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(seconds: time.tv_sec, milliseconds: time.tv_nsec / 1_000_000)
    }

    package var description: String { UTCDate(secondsSince1970: seconds, millisecond: milliseconds).iso8601 }
}
