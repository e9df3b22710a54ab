import IPCWire
import NIOCore

/// Asks sentinels for the primary of their service.
final class SentinelSource: PrimarySource {
    private let group: SentinelGroup

    init(_ group: SentinelGroup) { self.group = group }

    let noun = "sentinel"
    let movedMessage = "the sentinels name another primary"
    let fencesPrimary = false
    var servers: [ServerAddress] { group.sentinels }

    func found(_ answer: PrimaryAnswer) {}

    func ask(_ connection: RedisConnection, at server: ServerAddress, answered: @escaping (PrimaryAnswer) -> Void) {
        let service = ByteBuffer(string: group.service)
        var address: ServerAddress?
        if let password = group.password {
            let login = [group.user, password].compactMap { $0.map { ByteBuffer(string: $0) } }
            connection.send([.word("AUTH")] + login) { [weak connection] reply in
                if case .error(let text) = reply { connection?.close(Self.loss(text)) }
            }
        }
        connection.send([.word("SENTINEL"), .word("GET-MASTER-ADDR-BY-NAME"), service]) { [weak connection] reply in
            switch reply {
            case .error(let text): connection?.close(Self.loss(text))
            case .null:
                connection?.close(
                    ConnectionLoss("it watches no service of this name: check REDIS_URL", isDenied: true))
            default:
                address = Self.address(reply)
                if address == nil { connection?.close(reason: "it names no usable address") }
            }
        }
        connection.send([.word("SENTINEL"), .word("MASTER"), service]) { [weak connection] reply in
            guard let address, connection?.isClosed == false else { return }
            answered(PrimaryAnswer(address: address, configurationEpoch: Self.epoch(reply)))
        }
    }

    // MARK: Replies

    /// The mapped text names REDIS_URL's user; a sentinel has a separate one.
    private static func loss(_ text: ByteBuffer) -> ConnectionLoss {
        if String(buffer: text).contains("unknown command") {
            return ConnectionLoss("it is no sentinel: use redis:// for a single server", isDenied: true)
        }
        var loss = ConnectionLoss(redisError: text)
        let code = String(buffer: text).prefix { $0 != " " }
        switch code {
        case "NOAUTH", "WRONGPASS", "NOPERM":
            loss.reason = "it refuses syncd (\(code)): check sentinelUser and sentinelPassword in REDIS_URL"
        default: break
        }
        return loss
    }

    private static func address(_ reply: RESPValue) -> ServerAddress? {
        guard case .array(let parts) = reply, parts.count == 2, let host = ReplyDecoding.bulk(parts[0]),
            let digits = ReplyDecoding.bulk(parts[1]), let port = RedisNumber.digits(digits)
        else { return nil }
        return ReplyDecoding.address(host: host, port: port)
    }

    /// The field `config-epoch` in the flat list of SENTINEL MASTER.
    private static func epoch(_ reply: RESPValue) -> UInt64? {
        guard case .array(let fields) = reply else { return nil }
        for index in stride(from: 0, to: fields.count - 1, by: 2) {
            if case .bulkString(let name) = fields[index], String(buffer: name) == "config-epoch",
                case .bulkString(let digits) = fields[index + 1]
            {
                return RedisNumber.digits(digits)
            }
        }
        return nil
    }
}
