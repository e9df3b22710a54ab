import Foundation
import TestSupport
import Testing

/// docs/operations.md, "Health and status": the reports of workers.
@Suite(.tags(.servers), .processes) struct WorkerReportTests {
    private func status(_ syncd: SyncdProcess, _ options: [String] = []) async throws -> String {
        let status = try await syncd.runTool(["status"] + options)
        #expect(status.exit == .status(0), "\(status)")
        return status.output
    }

    /// The column under a heading, in the row of a name.
    private func cell(_ table: String, row: String, column: String) -> String? {
        let lines = table.split(separator: "\n")
        guard let header = lines.first(where: { $0.hasPrefix("NAME ") }), let place = header.firstRange(of: column),
            let line = lines.first(where: { $0.hasPrefix(row + " ") })
        else { return nil }
        let offset = header.distance(from: header.startIndex, to: place.lowerBound)
        return line.dropFirst(offset).prefix { $0 != " " }.description
    }

    @Test func `syncd status shows what each worker does`() async throws {
        let host = try await TestHost.start(workers: 2, home: .embedded)
        let syncd = try #require(host.syncd)
        let busy = try await host.connectToEach()[0]
        let page = try await EventSource(port: host.port.number)
        let names = host.workers.map { "apiworker-\($0.pid)" }
        func reported(_ name: String) async throws -> JSON {
            let clients = JSON(try await status(syncd, ["--json"]))["clients"].array ?? []
            return clients.first { $0["name"].string == name }?["reported"] ?? JSON("")
        }
        func figure(_ json: JSON, _ name: String) -> Int? { json[name].string.flatMap { Int($0) } }
        try await withThrowingTaskGroup { group in
            group.addTask { while !Task.isCancelled { _ = try await busy.get("/api/users") } }
            try await eventually("the busy one has requests", details: { host.transcript }) {
                figure(try await reported(names[0]), "http-requests-per-s") ?? 0 > 20
            }
            try await eventually("the table says so, too", details: { host.transcript }) {
                let text = cell(try await status(syncd), row: names[0], column: "REQUESTS/S")
                return text.flatMap { Int($0) } ?? 0 > 20
            }
            try await eventually("the other one has nothing to do", details: { host.transcript }) {
                cell(try await status(syncd), row: names[1], column: "REQUESTS/S") == "0"
            }
            let metrics = try PrometheusExposition(try await syncd.runTool(["metrics"]).output)
            #expect(metrics.value("syncd_workers_requests_per_second") ?? 0 > 20)
            group.cancelAll()
        }
        try await eventually("it ends", details: { host.transcript }) {
            figure(try await reported(names[0]), "http-requests-per-s") == 0
        }
        let report = try await reported(names[0])
        #expect(figure(report, "http-requests") ?? 0 > 20)
        #expect(figure(report, "l1-hits") ?? 0 > 20)
        let listening = await page.head.worker
        for worker in host.workers {
            let isListening = worker.pid == listening
            try await eventually("the page is counted", details: { host.transcript }) {
                let report = try await reported("apiworker-\(worker.pid)")
                return figure(report, "event-streams") == (isListening ? 1 : 0)
                    && figure(report, "http-connections") ?? -1 >= (isListening ? 1 : 0)
            }
        }
    }
}
