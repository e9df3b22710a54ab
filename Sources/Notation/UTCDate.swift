/// A moment in the calendar, in UTC: years 1 to 9999. Earlier and later moments are brought into that range.
package struct UTCDate: Sendable, Hashable {
    package let year: Int
    /// 1 to 12.
    package let month: Int
    /// 1 to 31.
    package let day: Int
    /// 0 is Sunday.
    package let weekday: Int
    package let hour: Int
    package let minute: Int
    package let second: Int
    package let millisecond: Int

    /// Days are counted as in Howard Hinnant's civil_from_days.
    package init(millisecondsSince1970: Int64) {
        let moment = min(max(millisecondsSince1970, -62_135_596_800_000), 253_402_300_799_999)
        let (days, time) = moment.flooredQuotient(by: 86_400_000)
        let (era, dayOfEra) = (days + 719_468).flooredQuotient(by: 146_097)
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        day = Int(dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
        month = Int(shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9)
        year = Int(yearOfEra + era * 400) + (month <= 2 ? 1 : 0)
        // 1970 began on a Thursday.
        weekday = Int((days + 4).flooredQuotient(by: 7).remainder)
        hour = Int(time / 3_600_000)
        minute = Int(time / 60_000 % 60)
        second = Int(time / 1000 % 60)
        millisecond = Int(time % 1000)
    }

    package init(secondsSince1970: Int, millisecond: Int = 0) {
        let (milliseconds, overflow) = Int64(secondsSince1970).multipliedReportingOverflow(by: 1000)
        let limit: Int64 = secondsSince1970 < 0 ? -62_135_596_800_000 : 253_402_300_799_999
        self.init(millisecondsSince1970: overflow ? limit : milliseconds.advanced(by: millisecond))
    }

    /// `2026-01-31`
    package var dayText: String { "\(year.padded(4))-\(month.padded(2))-\(day.padded(2))" }

    /// `08:00:00`
    package var timeText: String { "\(hour.padded(2)):\(minute.padded(2)):\(second.padded(2))" }

    /// ISO 8601 with milliseconds: `2026-11-23T08:00:00.123Z`
    package var iso8601: String {
        String(unsafeUninitializedCapacity: Self.iso8601Count) { text in
            writeISO8601(to: UnsafeMutableRawBufferPointer(text))
            return Self.iso8601Count
        }
    }

    /// Length of ``iso8601`` in bytes.
    package static let iso8601Count = 24

    /// Writes ``iso8601`` to the beginning of `text`.
    package func writeISO8601(to text: UnsafeMutableRawBufferPointer) {
        let zeros: StaticString = "0000-00-00T00:00:00.000Z"
        text.copyMemory(from: UnsafeRawBufferPointer(start: zeros.utf8Start, count: zeros.utf8CodeUnitCount))
        func put(_ number: Int, before end: Int) {
            var (rest, place) = (number, end)
            while rest > 0 {
                place -= 1
                text[place] += UInt8(rest % 10)
                rest /= 10
            }
        }
        put(year, before: 4)
        put(month, before: 7)
        put(day, before: 10)
        put(hour, before: 13)
        put(minute, before: 16)
        put(second, before: 19)
        put(millisecond, before: 23)
    }
}

extension Int64 {
    /// Rounded down, so that the remainder is not negative.
    fileprivate func flooredQuotient(by divisor: Int64) -> (quotient: Int64, remainder: Int64) {
        let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }
}
