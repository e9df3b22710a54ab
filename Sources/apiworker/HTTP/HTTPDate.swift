import Glibc
import Notation
import Synchronization

/// The value of `Date` in the format of RFC 9110 (5.6.7). Formatted once a second.
final class HTTPDate: Sendable {
    private let cached = Mutex((second: time_t(-1), text: ""))

    /// Seconds since 1970.
    static var second: Int { time(nil) }

    /// The present time as text.
    var now: String {
        let second = Self.second
        return cached.withLock { cached in
            if cached.second != second { cached = (second, Self.text(second)) }
            return cached.text
        }
    }

    private static let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    /// The text of a time, for example `Sun, 06 Nov 1994 08:49:37 GMT`.
    static func text(_ second: time_t) -> String {
        let date = UTCDate(secondsSince1970: second)
        let day = "\(date.day.padded(2)) \(months[date.month - 1]) \(date.year.padded(4))"
        return "\(days[date.weekday]), \(day) \(date.timeText) GMT"
    }
}
