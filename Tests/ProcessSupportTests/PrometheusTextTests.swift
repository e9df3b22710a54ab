import ProcessSupport
import TestSupport
import Testing

/// https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
@Suite struct PrometheusTextTests {
    @Test func `samples, with and without labels`() throws {
        var text = PrometheusText(prefix: "a_")
        text.add("up", .gauge, help: "Whether it is up.", 1)
        text.add("seen_total", .counter, help: "Seen.", [([("kind", "x"), ("size", "y")], 2.5), ([], 9e15)])
        text.add("none", .gauge, help: "Nothing to say.", [PrometheusText.Sample]())
        #expect(
            text.text == """
                # HELP a_up Whether it is up.
                # TYPE a_up gauge
                a_up 1
                # HELP a_seen_total Seen.
                # TYPE a_seen_total counter
                a_seen_total{kind="x",size="y"} 2.5
                a_seen_total 9000000000000000

                """)
        #expect(try PrometheusExposition(text.text).metrics.map(\.name) == ["a_up", "a_seen_total"])
    }

    @Test func `a histogram`() throws {
        var text = PrometheusText(prefix: "a_")
        text.add(
            "seconds", help: "How long.",
            [
                PrometheusText.Histogram(
                    labels: [("route", "/")], buckets: [(0.0005, 1), (1, 3)], count: 4, sum: 2.25)
            ])
        text.add("empty_seconds", help: "Nothing.", [])
        #expect(
            text.text == """
                # HELP a_seconds How long.
                # TYPE a_seconds histogram
                a_seconds_bucket{route="/",le="0.0005"} 1
                a_seconds_bucket{route="/",le="1"} 3
                a_seconds_bucket{route="/",le="+Inf"} 4
                a_seconds_sum{route="/"} 2.25
                a_seconds_count{route="/"} 4

                """)
        #expect(try PrometheusExposition(text.text)["a_seconds"]?.type == "histogram")
    }

    @Test(arguments: [
        "", "plain", "quote \" in it", "back\\slash", "\\n", "line\nfeed", "CR\r\nLF", "\\\"", "ends with \\", "é 😀",
        "a\u{301}", "{}=, \t", "\u{0}",
    ])
    func `any value of a label comes back`(value: String) throws {
        var text = PrometheusText(prefix: "")
        text.add("a", .gauge, help: "Help: \(value)", [([("b", value)], 1)])
        let read = try PrometheusExposition(text.text)
        let sample = try #require(read["a"]?.samples.first)
        #expect(sample.labels.mapValues { Array($0.utf8) } == ["b": Array(value.utf8)])
        #expect(read["a"]?.help == "Help: \(value)")
    }

    @Test(arguments: [
        0, 1, -1, 0.1, 1e-7, 1.5e300, 1e18, -2.5, .infinity, -.infinity, Double(UInt64.max), 0.30000000000000004,
    ])
    func `any number comes back`(value: Double) throws {
        var text = PrometheusText(prefix: "")
        text.add("a", .gauge, help: "A number.", value)
        #expect(try PrometheusExposition(text.text).value("a") == value)
    }

    @Test func `no number is one, too`() throws {
        var text = PrometheusText(prefix: "")
        text.add("a", .gauge, help: "None.", .nan)
        #expect(try PrometheusExposition(text.text).value("a")?.isNaN == true)
    }

    // MARK: The reader notices

    @Test(arguments: [
        "# HELP a b\n# TYPE a gauge\na 1", "a 1\n", "# TYPE a gauge\na 1\n", "# HELP a b\na 1\n",
        "# HELP a b\n# TYPE a gauge\n", "# HELP a b\n# TYPE b gauge\nb 1\n", "# HELP a b\n# TYPE a thing\na 1\n",
        "# HELP a b\n# TYPE a gauge\nb 1\n", "# HELP a b\n# TYPE a gauge\na 1\na 2\n",
        "# HELP a b\n# TYPE a gauge\na{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\"} 1\n",
        "# HELP a b\n# TYPE a gauge\na{x=\"1\",x=\"2\"} 1\n", "# HELP a b\n# TYPE a gauge\na{x=\"\\t\"} 1\n",
        "# HELP a b\n# TYPE a gauge\na{x=\"1\"}\n", "# HELP a b\n# TYPE a gauge\na{x=\"1} 1\n",
        "# HELP a b\n# TYPE a gauge\na{x=\"1\" 1\n", "# HELP a b\n# TYPE a gauge\na{} 1\n",
        "# HELP a b\n# TYPE a gauge\na{1x=\"1\"} 1\n", "# HELP a b\n# TYPE a gauge\na one\n",
        "# HELP a b\n# TYPE a gauge\na inf\n", "# HELP a b\n# TYPE a gauge\na 0x1\n",
        "# HELP a b\n# TYPE a gauge\n\na 1\n",
        "# HELP a b\n# TYPE a counter\na 1\n", "# HELP a_total b\n# TYPE a_total counter\na_total -1\n",
        "# HELP a_total b\n# TYPE a_total gauge\na_total 1\n", "# HELP a-b c\n# TYPE a-b gauge\na-b 1\n",
        "# HELP a b\n# TYPE a gauge\na 1\n# HELP a b\n# TYPE a gauge\na 1\n",
        "# HELP a b\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 1\na_count 1\n",
        "# HELP a b\n# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 2\n",
        "# HELP a b\n# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 1\n",
        "# HELP a b\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n",
        "# HELP a b\n# TYPE a histogram\na_bucket{le=\"2\"} 1\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n",
    ])
    func `what is no such text`(text: String) {
        #expect(throws: TestFailure.self) { try PrometheusExposition(text) }
    }
}
