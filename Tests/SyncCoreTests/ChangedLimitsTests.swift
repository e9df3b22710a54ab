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
}
