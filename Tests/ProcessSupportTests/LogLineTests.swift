import Glibc
import Logging
import ProcessSupport
import Testing

@testable import ProcessSupport

@Suite struct LogLineTests {
    private let time = Timestamp(seconds: 1_795_420_800, milliseconds: 7)

    private func line(
        _ format: LogFormat, _ reader: LogReader, level: Logger.Level = .notice, _ message: String = "ready",
        _ fields: [(name: String, value: String)] = []
    ) -> String {
        LineStyle(format: format, reader: reader).line(level: level, message: message, fields: fields, at: time)
    }

    @Test func `a stream is told time and level`() {
        #expect(
            line(.text, .stream, "is ready", [("epoch", "5"), ("why", "no reason")])
                == "2026-11-23T08:00:00.007Z notice is ready epoch=5 why=\"no reason\"")
    }

    @Test func `the journal is told the priority`() {
        #expect(line(.text, .journal, "is ready", [("epoch", "5")]) == "<5>is ready epoch=5")
        let priorities = Logger.Level.allCases.map { line(.text, .journal, level: $0, "x") }
        #expect(priorities == ["<7>x", "<7>x", "<6>x", "<5>x", "<4>x", "<3>x", "<2>x"])
    }

    @Test func `JSON is one object per line`() {
        #expect(
            line(.json, .stream, "say \"hi\"\n", [("path", "C:\\a"), ("level", "9")])
                == #"{"time":"2026-11-23T08:00:00.007Z","level":"notice","message":"say \"hi\"\n","path":"C:\\a","field-level":"9"}"#
        )
        #expect(
            line(.json, .journal, level: .error, "x")
                == #"<3>{"time":"2026-11-23T08:00:00.007Z","level":"error","message":"x"}"#)
        #expect(line(.json, .stream, "\u{2028}\u{1}").contains(#""message":"\u2028\u0001""#))
    }

    @Test func `nobody can forge a line or its priority`() {
        #expect(line(.text, .journal, "a\n<0>b") == "<5>a\\n<0>b")
        #expect(!line(.json, .journal, "a\n<0>b").contains("\n"))
    }

    @Test func `the journal is recognized by the file behind the descriptor`() throws {
        var ends: [Int32] = [0, 0]
        try #require(pipe(&ends) == 0)
        defer { ends.forEach { close($0) } }
        var status = stat()
        try #require(fstat(ends[1], &status) == 0)
        let name = "\(status.st_dev):\(status.st_ino)"
        #expect(LogReader(environment: ["JOURNAL_STREAM": name], descriptor: ends[1]) == .journal)
        #expect(LogReader(environment: ["JOURNAL_STREAM": "1:2"], descriptor: ends[1]) == .stream)
        #expect(LogReader(environment: [:], descriptor: ends[1]) == .stream)
        #expect(LogReader(environment: ["JOURNAL_STREAM": name], descriptor: 9999) == .stream)
    }

    @Test func `the level changes for loggers in use`() {
        let threshold = LogThreshold(.info)
        var handler = LineLogHandler(component: nil, threshold: threshold, style: LineStyle())
        #expect(handler.logLevel == .info)
        threshold.level = .debug
        #expect(handler.logLevel == .debug)
        handler.logLevel = .error
        threshold.level = .trace
        #expect(handler.logLevel == .error)
    }
}

@Suite struct EscalationTests {
    @Test func `the second request is impatient`() {
        let escalation = Escalation()
        #expect([escalation.next(), escalation.next(), escalation.next()] == [.drain, .immediate, .immediate])
    }
}
