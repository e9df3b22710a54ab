import NIOCore
import ProcessSupport
import TestSupport
import Testing

/// docs/protocol.md, "Metrics": one text of many reports.
@Suite struct HostMetricsTests {
    private static let honest = """
        # HELP apiworker_a_total Counted.
        # TYPE apiworker_a_total counter
        apiworker_a_total{x="1"} 5
        apiworker_a_total 6
        # HELP apiworker_b_seconds Took \\\\ \\n long.
        # TYPE apiworker_b_seconds histogram
        apiworker_b_seconds_bucket{route="/",le="0.5"} 1
        apiworker_b_seconds_bucket{route="/",le="+Inf"} 2
        apiworker_b_seconds_sum{route="/"} 2.5
        apiworker_b_seconds_count{route="/"} 2
        # HELP apiworker_c Now.
        # TYPE apiworker_c gauge
        apiworker_c NaN

        """

    private func merged(
        _ reports: [(String, String)], ageSeconds: Double = 0, isComplete: Bool = true
    ) -> String {
        var metrics = HostMetrics()
        for (worker, text) in reports { metrics.add(ByteBuffer(string: text), of: worker, ageSeconds: ageSeconds) }
        return String(buffer: metrics.text(isComplete: isComplete))
    }

    private func series(_ text: String) -> [String] {
        text.split(separator: "\n").filter { !$0.hasPrefix("#") && !$0.hasPrefix("apiworker_metrics_") }.map(
            String.init)
    }

    @Test func `the metrics of all workers, each once, with their names`() throws {
        let text = merged([("0", Self.honest), ("1", Self.honest)], ageSeconds: 0.25)
        #expect(
            text == """
                # HELP apiworker_a_total Counted.
                # TYPE apiworker_a_total counter
                apiworker_a_total{worker="0",x="1"} 5
                apiworker_a_total{worker="0"} 6
                apiworker_a_total{worker="1",x="1"} 5
                apiworker_a_total{worker="1"} 6
                # HELP apiworker_b_seconds Took \\\\ \\n long.
                # TYPE apiworker_b_seconds histogram
                apiworker_b_seconds_bucket{worker="0",le="0.5",route="/"} 1
                apiworker_b_seconds_bucket{worker="0",le="+Inf",route="/"} 2
                apiworker_b_seconds_sum{worker="0",route="/"} 2.5
                apiworker_b_seconds_count{worker="0",route="/"} 2
                apiworker_b_seconds_bucket{worker="1",le="0.5",route="/"} 1
                apiworker_b_seconds_bucket{worker="1",le="+Inf",route="/"} 2
                apiworker_b_seconds_sum{worker="1",route="/"} 2.5
                apiworker_b_seconds_count{worker="1",route="/"} 2
                # HELP apiworker_c Now.
                # TYPE apiworker_c gauge
                apiworker_c{worker="0"} NaN
                apiworker_c{worker="1"} NaN
                # HELP apiworker_metrics_workers Workers in this answer.
                # TYPE apiworker_metrics_workers gauge
                apiworker_metrics_workers 2
                # HELP apiworker_metrics_complete 1 if these are all workers that syncd knows, and none is silent.
                # TYPE apiworker_metrics_complete gauge
                apiworker_metrics_complete 1
                # HELP apiworker_metrics_age_seconds Time since the worker's report.
                # TYPE apiworker_metrics_age_seconds gauge
                apiworker_metrics_age_seconds{worker="0"} 0.25
                apiworker_metrics_age_seconds{worker="1"} 0.25

                """)
        #expect(try PrometheusExposition(text).metrics.count == 6)
    }

    @Test func `an answer of one worker alone, or with a silent one, is not complete`() throws {
        func isComplete(_ ageSeconds: Double, _ isComplete: Bool) throws -> Bool {
            let text = merged([("0", Self.honest)], ageSeconds: ageSeconds, isComplete: isComplete)
            return try PrometheusExposition(text).value("apiworker_metrics_complete") == 1
        }
        #expect(try isComplete(10, true))
        #expect(try !isComplete(10.5, true))
        #expect(try !isComplete(0, false))
        let nobody = try PrometheusExposition(merged([]))
        #expect(nobody.value("apiworker_metrics_workers") == 0 && nobody.metrics.count == 2)
    }

    @Test func `a worker counts once, and its name is escaped`() throws {
        let text = merged([("a\"\\\n", Self.honest), ("a\"\\\n", Self.honest)])
        let metrics = try PrometheusExposition(text)
        #expect(metrics.value("apiworker_a_total", ["worker": "a\"\\\n"]) == 6)
        #expect(metrics.value("apiworker_metrics_workers") == 1)
    }

    private static let gauge = "# TYPE apiworker_g gauge\n"
    private static let counter = "# TYPE apiworker_g_total counter\n"
    private static let histogram = "# TYPE apiworker_h histogram\n"

    @Test(arguments: [
        "", "\n\n", "apiworker_g 1\n", "# TYPE apiworker_g\napiworker_g 1\n",
        "# TYPE apiworker_g summary\napiworker_g 1\n",
        // Names of others.
        gauge + "apiworker_other 1", gauge + "apiworker_g_sum 1", "# TYPE up gauge\nup 1\n",
        "# TYPE syncd_attached gauge\nsyncd_attached 0\n", "# TYPE apiworker gauge\napiworker 1\n",
        "# TYPE apiworker_metrics_complete gauge\napiworker_metrics_complete 1\n",
        "# TYPE apiworker_metrics histogram\napiworker_metrics_count 1\n",
        "# TYPE apiworker_\u{e9} gauge\napiworker_\u{e9} 1\n",
        "# TYPE apiworker_g_total gauge\napiworker_g_total 1\n", "# TYPE apiworker_g counter\napiworker_g 1\n",
        // Labels that no reader takes, or of another worker.
        gauge + #"apiworker_g{worker="0"} 1"#, gauge + #"apiworker_g{x="1",worker="0"} 1"#,
        gauge + #"apiworker_g{x="1",x="2"} 1"#,
        gauge + #"apiworker_g{x="1"} 1"# + "\r", gauge + #"apiworker_g{x="\t"} 1"#, gauge + #"apiworker_g{x="1} 1"#,
        gauge + #"apiworker_g{x="1\"} 1"#, gauge + #"apiworker_g{x=1} 1"#, gauge + #"apiworker_g{__name__="up"} 1"#,
        gauge + #"apiworker_g{="1"} 1"#, gauge + #"apiworker_g{x="1"y="2"} 1"#, gauge + #"apiworker_g{x="1"}} 1"#,
        gauge + #"apiworker_g{x="1" 1"#, gauge + "apiworker_g{x=\"a\u{0}b\"} 1", gauge + "apiworker_g{x=\"a\nb\"} 1",
        gauge + #"apiworker_g{,} 1"#, gauge + "apiworker_g{x=\"" + String(repeating: "y", count: 5000) + "\"} 1",
        gauge + #"apiworker_g{x:y="1"} 1"#,
        // Numbers that some reader does not take.
        gauge + "apiworker_g", gauge + "apiworker_g ", gauge + "apiworker_g x", gauge + "apiworker_g 1e999",
        gauge + "apiworker_g 1 1700000000000", gauge + "apiworker_g 0x1p3", gauge + "apiworker_g 1_0",
        gauge + "apiworker_g inf", gauge + "apiworker_g nan", gauge + "apiworker_g  1", gauge + "apiworker_g 1 ",
        gauge + "apiworker_g 1.", gauge + "apiworker_g --1", gauge + "apiworker_g " + String(repeating: "1", count: 70),
        counter + "apiworker_g_total NaN", counter + "apiworker_g_total -1", counter + "apiworker_g_total +Inf",
        // Bounds and counts of histograms.
        histogram + "apiworker_h 1", histogram + "apiworker_h_bucket 1", histogram + #"apiworker_h_bucket{le=""} 1"#,
        histogram + #"apiworker_h_bucket{le="x"} 1"#, histogram + #"apiworker_h_bucket{le="NaN"} 1"#,
        histogram + #"apiworker_h_bucket{le="1"} NaN"#, histogram + #"apiworker_h_sum{le="1"} 1"#,
        histogram + #"apiworker_h_count{le="1"} 1"#, histogram + "apiworker_h_sum NaN",
        histogram + "apiworker_h_count -1",
    ])
    func `a line that could harm a reader or another series is left out`(report: String) throws {
        let text = merged([("bad", report), ("0", Self.honest)])
        #expect(series(text) == series(merged([("0", Self.honest)])))
        _ = try PrometheusExposition(text)
    }

    @Test func `a series comes once, whatever the order of its labels`() throws {
        let text = merged([
            ("0", Self.gauge + "apiworker_g{a=\"1\",b=\"2\"} 1\napiworker_g{b=\"2\",a=\"1\",c=\"\",} 2\n")
        ])
        #expect(series(text) == ["apiworker_g{worker=\"0\",a=\"1\",b=\"2\"} 1"])
    }

    @Test func `who comes first decides about type and help`() throws {
        let other = "# HELP apiworker_a_total Else.\n# TYPE apiworker_a_total histogram\napiworker_a_total_count 1\n"
        let text = merged([
            ("0", Self.honest), ("1", other),
            ("2", "# HELP apiworker_c Else.\n# TYPE apiworker_c gauge\napiworker_c 1\n"),
        ])
        let metrics = try PrometheusExposition(text)
        #expect(metrics["apiworker_a_total"]?.type == "counter" && metrics["apiworker_a_total"]?.help == "Counted.")
        #expect(metrics["apiworker_c"]?.help == "Now." && metrics.value("apiworker_c", ["worker": "2"]) == 1)
        #expect(metrics.value("apiworker_metrics_workers") == 3)
    }

    /// A parser that looks for the metric of `a_count` finds the histogram `a`, and refuses the whole text.
    @Test(arguments: [true, false])
    func `no metric is called like the samples of another one`(isHistogramFirst: Bool) throws {
        let histogram =
            Self.histogram + #"apiworker_h_bucket{le="+Inf"} 1"# + "\napiworker_h_sum 1\napiworker_h_count 1\n"
        let gauge = "# TYPE apiworker_h_count gauge\napiworker_h_count 1\n"
        let reports = [("0", isHistogramFirst ? histogram : gauge), ("1", isHistogramFirst ? gauge : histogram)]
        let metrics = try PrometheusExposition(merged(reports))
        #expect(metrics.metrics.map(\.name).contains(isHistogramFirst ? "apiworker_h" : "apiworker_h_count"))
        #expect(metrics.metrics.flatMap(\.samples).filter { $0.name == "apiworker_h_count" }.count == 1)
    }

    @Test(arguments: ["\\x", "ends \\", "a\tb", "a\u{7f}b"]) func `a help text that cannot be read is left out`(
        help: String
    ) throws {
        let text = merged([("0", "# HELP apiworker_g \(help)\n" + Self.gauge + "apiworker_g 1\n")])
        let metrics = try PrometheusExposition(text)
        #expect(
            metrics["apiworker_g"]?.help == "Reported by a worker."
                && metrics.value("apiworker_g", ["worker": "0"]) == 1)
    }

    @Test(arguments: [
        "1", "-1", "0.5", "1e5", "1.5E-7", "+3", ".5", "+Inf", "-Inf", "NaN", "9000000000000000", "-0",
    ]) func `a number comes back as it was written`(number: String) {
        let text = merged([("0", Self.gauge + "apiworker_g \(number)\n")])
        #expect(series(text) == ["apiworker_g{worker=\"0\"} \(number)"])
    }

    @Test func `text that is not UTF-8 is left out`() {
        var report = ByteBuffer(string: Self.gauge + "apiworker_g{x=\"")
        report.writeBytes([0xc3, 0x28])
        report.writeString("\"} 1\napiworker_g{x=\"é 😀\"} 2\n")
        var metrics = HostMetrics()
        metrics.add(report, of: "0", ageSeconds: 0)
        #expect(series(String(buffer: metrics.text(isComplete: true))) == ["apiworker_g{worker=\"0\",x=\"é 😀\"} 2"])
    }
}
