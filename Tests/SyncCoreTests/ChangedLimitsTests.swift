import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// Limits that change while syncd runs.
@Suite struct ChangedLimitsTests {
    private func limits(_ change: (inout Limits) -> Void) -> Limits {
        var limits = Limits()
        change(&limits)
        return limits
    }

    private func lease(_ host: EngineHarness, _ key: String) -> Reply? {
        host.request(.fetch(key: .text(key), waitMilliseconds: nil))
    }

    @Test func `leases beyond the new limit are not given`() {
        let host = EngineHarness(.embedded)
        host.client(1)
        guard case .fetched(.lease) = lease(host, "a") else {
            Issue.record("no lease under the old limit")
            return
        }
        host.adopt(limits { $0.leases = 1 })
        guard case .error(let error) = lease(host, "b") else {
            Issue.record("a lease beyond the new limit")
            return
        }
        #expect(error.code == .busy)
        host.adopt(limits { $0.leases = 2 })
        guard case .fetched(.lease) = lease(host, "b") else {
            Issue.record("no lease under the raised limit")
            return
        }
    }

    @Test func `a smaller cache forgets at once`() {
        let host = EngineHarness(.embedded)
        host.client(1)
        guard case .fetched(.lease(let lease)) = lease(host, "a") else {
            Issue.record("no lease")
            return
        }
        let fill = Fill(key: .text("a"), lease: lease.id, ttlMilliseconds: 60_000, tags: [], value: .text("v"))
        #expect(host.request(.fill(fill)) == .ok)
        host.adopt(limits { $0.embeddedCacheBytes = 0 })
        guard case .fetched(.lease) = self.lease(host, "a") else {
            Issue.record("the value is still there")
            return
        }
    }
}
