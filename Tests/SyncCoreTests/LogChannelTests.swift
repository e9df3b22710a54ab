import IPCWire
import NIOCore
import Testing

@testable import SyncCore

/// The channels of logs are syncd's, whosever log it is.
@Suite struct LogChannelTests {
    @Test(arguments: ["{syncd}:log", "{other}:log", "{syncd}:log:1", "{a:b c}:log:65535"])
    func `no client speaks or listens there`(_ name: String) {
        let channel = ByteBuffer.text(name)
        for host in [EngineHarness.attached(HarnessServer()), EngineHarness(.embedded)] {
            host.client(1)
            let event = Event(channel: channel, payload: .text("forged"))
            for request: Request in [
                .publish(event), .invalidate(tags: [.text("a")], event: event), .subscribe([.text("a"), channel]),
            ] {
                guard case .error(let error)? = host.request(request) else {
                    Issue.record("\(request) is not refused")
                    continue
                }
                #expect(error.code == .denied)
            }
            #expect(host.applied == 0 && host.upstreamCommands().isEmpty)
        }
    }

    @Test(arguments: [
        "", "{}:log", "{a}:log:", "{a}:log:x", "{a}:logs", "a}:log", "{a:log", "{a{b}:log", "{a}b:log", "x{a}:log",
        "{a}:log1", "user:updated", "{a}:v:log",
    ])
    func `others are free`(_ name: String) {
        #expect(!LogChannel.isOne(.text(name)))
    }
}
