import IPC
import IPCWire
import NIOCore
import SyncCore

/// Publish/subscribe.
extension Doctor {
    /// Subscribes over the second connection, to the log's channel, too: the same permission is needed to publish there,
    /// which the doctor does not do, because every message makes all hosts look at the log.
    func checkChannels(_ commands: DoctorConnection, _ subscription: DoctorConnection) async throws(ConnectionLoss) {
        subscription.becomeSubscriber(keeping: scratch.logChannel)
        try await checkEventChannels(subscription)
        if isCluster { try await checkShardedChannels(commands, subscription) }
        let log = try await subscription.subscribe("SUBSCRIBE", live.logChannel)
        guard log == .confirmed else {
            return add(
                Finding(
                    .publishSubscribe, .failure, "SUBSCRIBE \(live.logChannel.escaped): \(Self.text(log))",
                    follows: "entries of other hosts do not arrive: hosts are isolated",
                    remedy: "permit +subscribe and the channel &\(live.logChannel.escaped)"))
        }
        isListening = try await subscription.subscribe("SUBSCRIBE", scratch.logChannel) == .confirmed
        let reply = try await commands.ask([.word("PUBLISH"), scratch.logChannel, .word("test")])
        if let text = reply.errorText, let failure = reply.failure, !Self.isChannelRefusal(text) {
            return add(
                Finding(
                    .publishSubscribe, .failure, "PUBLISH: \(failure.message)",
                    follows: "the script that appends cannot publish: hosts are isolated",
                    remedy: failure.remedy(permitting: "+publish")))
        }
        isListening = isListening && reply.errorText == nil
        guard isListening else {
            return add(
                Finding(
                    .publishSubscribe, .note,
                    "the log's channel may be used; delivery was not tested, since no other channel may be",
                    remedy: "permit &{\(configuration.namespace)}:doctor:* for this test"))
        }
        let parts: [RESPValue] = [.bulkString(scratch.logChannel), .bulkString(.word("test"))]
        add(Self.delivery(try await subscription.message([ReplyDecoding.messageWord], parts)))
        if !isCluster { try await checkShardedChannels(commands, subscription) }
    }

    /// Sharded channels, which the daemon uses in a cluster: of that log's channel, too, only the name is used.
    private func checkShardedChannels(
        _ commands: DoctorConnection, _ subscription: DoctorConnection
    ) async throws(ConnectionLoss) {
        var refused: [String] = []
        if isCluster {
            let log = try await subscription.subscribe("SSUBSCRIBE", live.logChannel)
            if case .refused(let text) = log, String(buffer: text).hasPrefix("NOPERM") {
                return add(
                    Finding(
                        .shardedChannels, .warning, "SSUBSCRIBE \(live.logChannel.escaped): \(Self.text(log))",
                        follows: "entries of other hosts come by probes only, a quarter of a second late",
                        remedy: "permit +ssubscribe +spublish"))
            }
            if log != .confirmed { refused.append("SSUBSCRIBE \(live.logChannel.escaped): \(Self.text(log))") }
        }
        let answer = try await subscription.subscribe("SSUBSCRIBE", scratch.logChannel)
        let reply = try await commands.ask([.word("SPUBLISH"), scratch.logChannel, .word("test")])
        if let text = reply.errorText, let failure = reply.failure, !isCluster || !Self.isChannelRefusal(text) {
            refused.append("SPUBLISH: \(failure.message)")
        }
        guard refused.isEmpty, isCluster || answer == .confirmed else {
            return add(
                isCluster
                    ? Finding(
                        .shardedChannels, .note, refused.joined(separator: "; "),
                        follows:
                            "entries are published on the classic channel, which goes to every node of the cluster",
                        remedy: "permit +ssubscribe +spublish")
                    : Finding(
                        .shardedChannels, .ok, "SSUBSCRIBE and SPUBLISH are not offered",
                        follows: Self.unneededOutsideClusters))
        }
        guard answer == .confirmed, reply.errorText == nil else {
            return add(Finding(.shardedChannels, .ok, "the log's channel may be used; delivery was not tested"))
        }
        let parts: [RESPValue] = [.bulkString(scratch.logChannel), .bulkString(.word("test"))]
        let isDelivered = try await subscription.message([ReplyDecoding.shardMessageWord], parts)
        add(
            Finding(
                .shardedChannels, isDelivered ? .ok : isCluster ? .failure : .note,
                isDelivered ? "a message arrived" : "a message did not arrive within 2 s",
                follows: isCluster ? nil : Self.unneededOutsideClusters))
    }

    private static let unneededOutsideClusters = "syncd uses them with redis+cluster:// only"

    private static func delivery(_ isDelivered: Bool) -> Finding {
        guard !isDelivered else {
            return Finding(.publishSubscribe, .ok, "the log's channel may be used, and a message arrived")
        }
        return Finding(
            .publishSubscribe, .failure, "a message did not arrive within 2 s",
            follows: "entries of other hosts come by probes only, a quarter of a second late; events get lost",
            remedy: "use an address behind which all connections reach the same server")
    }

    private func checkEventChannels(_ subscription: DoctorConnection) async throws(ConnectionLoss) {
        var refused: [String] = []
        for channel in configuration.bridge.channels {
            let answer = try await subscription.subscribe("SUBSCRIBE", channel)
            if answer != .confirmed { refused.append(channel.escaped) }
        }
        // The pattern itself has to be permitted, and need not be: only the command counts.
        let pattern = try await subscription.subscribe("PSUBSCRIBE", scratch.logChannel)
        if case .refused(let text) = pattern, !Self.isChannelRefusal(text) {
            refused.append("all patterns (PSUBSCRIBE)")
        }
        guard refused.isEmpty else {
            return add(
                Finding(
                    .eventChannels, .warning, "refused: \(refused.joined(separator: ", "))",
                    follows: "events on these channels do not reach this host and invalidate nothing",
                    remedy: "permit the channels to syncd's user, or remove them from SYNCD_BRIDGE_RULES"))
        }
        add(
            Finding(
                .eventChannels, .ok, "\(configuration.bridge.channels.count) channels of the bridge rules may be used"))
    }

    /// Whether an error is about the channel, and not about the command.
    static func isChannelRefusal(_ text: ByteBuffer) -> Bool {
        let message = String(buffer: text).lowercased()
        return message.contains("channel") && !message.contains("command")
            || message.contains("can't publish to the channel")
    }

    private static func text(_ answer: DoctorConnection.Subscription) -> String {
        switch answer {
        case .confirmed: "confirmed"
        case .refused(let text): UpstreamFailure(redisError: text).message
        case .silent: "no answer within 2 s"
        }
    }
}
