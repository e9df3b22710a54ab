import IPCTesting
import NIOCore
import TestSupport
import Testing

@testable import IPC

@Suite(.timeLimit(.minutes(10))) struct DegradedReadingTests {
    @Test func `without syncd the database is read and nothing is stored`() async throws {
        try await CacheHarness.run { (harness: CacheHarness) async throws in
            #expect(try await harness.read(loading: "a") == CachedValue("a", .bypass))
            #expect(try await harness.read(loading: "b") == CachedValue("b", .bypass))
            #expect(harness.cache.status.sync == .detached)
        }
    }

    @Test func `with none configured it is the same`() async throws {
        try await CacheHarness.run(hasSocket: false) { (harness: CacheHarness) async throws in
            #expect(try await harness.read(loading: "a") == CachedValue("a", .bypass))
            #expect(try await harness.write().value == "done")
            #expect(harness.cache.status.redis == .unavailable)
        }
    }

    @Test func `a miss is read from the database and not stored`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            harness.syncd.table.setState(.isolated)
            harness.syncd.script { if case .fetch = $0 { [.reply(.fetched(.miss))] } else { nil } }
            #expect(try await harness.read(loading: "a") == CachedValue("a", .bypass))
            #expect(harness.cache.status.sync == .isolated)
            #expect(harness.cache.status.redis == .unavailable)
            #expect(harness.syncd.fills.count == 0)
        }
    }

    @Test func `a silent syncd is given up after 500 ms, and a late reply is nobody's`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let (syncd, late) = (harness.syncd, harness.syncd.hit("late"))
            syncd.script { if case .fetch = $0 { [] } else { nil } }
            let read = harness.read()
            await eventually("it asks") { syncd.fetchCount == 1 }
            syncd.advance(by: .milliseconds(499))
            #expect(harness.loads.begun == 0)
            syncd.advance(by: .milliseconds(1))
            await harness.loads.answer(1, "v")
            #expect(try await read.value == CachedValue("v", .bypass))
            syncd.send(.fetched(late))
            await harness.connectAgain()
            syncd.script(nil)
            #expect(try await harness.read(loading: "w") == CachedValue("w", .miss))
        }
    }

    @Test func `no heartbeat for 500 ms frees who waits with a ticket`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let syncd = harness.syncd
            syncd.script { if case .fetch = $0 { [.reply(.wait(ticket: 1))] } else { nil } }
            let read = harness.read()
            await eventually("it asks") { syncd.fetchCount == 1 }
            syncd.clock.advance(by: .milliseconds(500))
            await harness.loads.answer(1, "v")
            #expect(try await read.value == CachedValue("v", .bypass))
        }
    }

    @Test func `something unreadable ends the connection`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let syncd = harness.syncd
            syncd.script { if case .fetch = $0 { [.reply(.ok)] } else { nil } }
            #expect(try await harness.read(loading: "v") == CachedValue("v", .bypass))
            syncd.script(nil)
            await harness.connectAgain()
            #expect(syncd.acceptedCount == 2)
            #expect(try await harness.read(loading: "w") == CachedValue("w", .miss))
        }
    }

    @Test func `a lease doesn't outlive its connection`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let read = harness.read()
            await eventually("it loads") { harness.loads.begun == 1 }
            await harness.syncd.stop()
            try await harness.syncd.start()
            await harness.connectAgain()
            await harness.loads.answer(1, "v")
            #expect(try await read.value == CachedValue("v", .miss))
            #expect(harness.syncd.fills.count == 0)
            #expect(harness.cache.l1.statistics.entries == 0)
        }
    }

    @Test func `the same table keeps L1 over a new connection, another empties it`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let syncd = harness.syncd
            _ = try await harness.read(loading: "a")
            await syncd.stop()
            #expect(try await harness.read(loading: "b") == CachedValue("a", .l1), "believed for one trust window")
            try await syncd.start()
            await harness.connectAgain()
            #expect(try await harness.read(loading: "b") == CachedValue("a", .l1))

            await syncd.stop()
            let (other, created) = try TagTableFile.openOrCreate(path: syncd.tablePath, slotBits: 17)
            #expect(created)
            other.setState(.attached)
            other.setHeartbeat(syncd.clock.now)
            other.setFreshAsOf(syncd.clock.now)
            try await syncd.start()
            await harness.connectAgain()
            #expect(harness.cache.l1.statistics.entries == 0)
            #expect(harness.cache.status.epoch == other.epoch)
        }
    }

    @Test func `events and invalidations come in order`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            let event = Event(channel: "user:created", payload: "{}")
            harness.syncd.send(.invalidate(position: 4, tags: [harness.tag.bytes]))
            harness.syncd.send(.message(event))
            var heard: [CacheNotification] = []
            for await notification in harness.cache.notifications {
                heard.append(notification)
                if heard.count == 3 { break }
            }
            #expect(heard == [.connected, .invalidation(position: 4, tags: [harness.tag]), .event(event)])
        }
    }

    @Test func `invalidations that nobody wants are passed over, and still free what is stale`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            _ = try await harness.cache.value(for: harness.key, tags: [harness.tag], ttl: .seconds(60)) { nil }
            #expect(harness.cache.l1.statistics.entries == 1)
            harness.cache.notifiesInvalidations = false
            let event = Event(channel: "user:created", payload: "{}")
            harness.syncd.table.raise(tags: [harness.tag.bytes], to: 4)
            for position in 4..<500 {
                harness.syncd.send(.invalidate(position: LogPosition(UInt64(position)), tags: [harness.tag.bytes]))
            }
            harness.syncd.send(.message(event))
            var heard: [CacheNotification] = []
            for await notification in harness.cache.notifications {
                heard.append(notification)
                if heard.last == .event(event) { break }
            }
            #expect(heard == [.connected, .event(event)])
            await eventually("what is stale is freed") {
                await harness.pass(milliseconds: 100)
                return harness.cache.l1.statistics.entries == 0
            }
            harness.cache.notifiesInvalidations = true
            harness.syncd.send(.invalidate(position: 500, tags: [harness.tag.bytes]))
            // This play sends it also without being asked, so that it may come before or after the answer to TRACK ON.
            for await notification in harness.cache.notifications where notification != .tracking {
                #expect(notification == .invalidation(position: 500, tags: [harness.tag]))
                break
            }
        }
    }

    @Test func `syncd sends no invalidations while nobody wants them`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            #expect(harness.syncd.isTracked)
            harness.cache.notifiesInvalidations = false
            await eventually("syncd sends nothing") { !harness.syncd.isTracked }
            await harness.pass(milliseconds: 3000)
            #expect(harness.cache.status.sync == .attached, "the heartbeats in the table are enough")
            harness.cache.notifiesInvalidations = true
            var notifications = harness.cache.notifications.makeAsyncIterator()
            #expect(await notifications.next() == .connected)
            #expect(await notifications.next() == .tracking)
            let position = harness.syncd.invalidate([harness.tag])
            #expect(await notifications.next() == .invalidation(position: position, tags: [harness.tag]))
        }
    }

    @Test func `without a table, heartbeats come as pushes, whether somebody wants invalidations or not`() async throws
    {
        try await CacheHarness.connected(hasTable: false) { (harness: CacheHarness) async throws in
            harness.cache.notifiesInvalidations = false
            await harness.pass(milliseconds: 1000)
            #expect(harness.syncd.count { if case .track(false) = $0 { true } else { false } } == 0)
        }
    }

    @Test func `figures are reported once a second`() async throws {
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            harness.cache.report([ReportField(name: ByteBuffer(string: "requests"), value: ByteBuffer(string: "3"))])
            await eventually("it reports") {
                await harness.pass(milliseconds: 100)
                return harness.syncd.count { if case .report(let fields) = $0 { fields.count == 7 } else { false } } > 0
            }
        }
    }

    @Test func `metrics are taken under a name, or not at all`() async throws {
        let text = ByteBuffer(string: "# TYPE apiworker_a gauge\napiworker_a 1\n")
        try await CacheHarness.run { (harness: CacheHarness) async throws in
            #expect(await harness.cache.report(metrics: text, as: "0") == nil, "no connection")
        }
        try await CacheHarness.connected { (harness: CacheHarness) async throws in
            harness.syncd.script {
                guard case .setMetrics(let worker, text) = $0 else { return nil }
                return [
                    .reply(
                        worker == ByteBuffer(string: "0")
                            ? .bulk(ByteBuffer(string: "0-2")) : .error(ReplyError(.generic, "unknown command")))
                ]
            }
            #expect(await harness.cache.report(metrics: text, as: "0") == "0-2")
            #expect(await harness.cache.report(metrics: text, as: "1") == nil, "an older syncd")
            #expect(harness.cache.session.current.connection != nil, "the connection stays")
        }
    }
}
