import NIOCore
import Notation

/// Reads the name of the cipher that a server has chosen from its ServerHello (RFC 8446, 4.1.3), which is not encrypted.
/// NIOSSL does not tell it. For people only: nothing depends on the name.
final class CipherWitness: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private var beginning = ByteBuffer()
    /// `TLS_AES_256_GCM_SHA384`; `nil`: unknown.
    private(set) var cipher: String?
    private var hasSeenEnough = false

    /// Headers of the record and of the message, version, random, the longest session id with its length, cipher.
    private static let maximumBytes = 5 + 4 + 2 + 32 + 33 + 2
    private static let handshakeRecord: UInt8 = 22
    private static let serverHello: UInt8 = 2

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if !hasSeenEnough {
            let bytes = unwrapInboundIn(data)
            beginning.writeBytes(bytes.readableBytesView.prefix(Self.maximumBytes - beginning.readableBytes))
            cipher = Self.cipher(beginning)
            hasSeenEnough = cipher != nil || beginning.readableBytes >= Self.maximumBytes
        }
        context.fireChannelRead(data)
    }

    /// - Returns: `nil`: the bytes are no ServerHello, or only its beginning.
    static func cipher(_ bytes: ByteBuffer) -> String? {
        var rest = bytes
        guard rest.readInteger(as: UInt8.self) == handshakeRecord, rest.readBytes(length: 4) != nil,
            rest.readInteger(as: UInt8.self) == serverHello, rest.readBytes(length: 3 + 2 + 32) != nil,
            let sessionID = rest.readInteger(as: UInt8.self), rest.readBytes(length: Int(sessionID)) != nil,
            let number = rest.readInteger(as: UInt16.self)
        else { return nil }
        return names[number] ?? "0x" + number.padded(4, radix: 16)
    }

    /// Ciphers of BoringSSL that TLS 1.2 and 1.3 can use (the IANA registry "TLS Cipher Suites").
    private static let names: [UInt16: String] = [
        0x1301: "TLS_AES_128_GCM_SHA256", 0x1302: "TLS_AES_256_GCM_SHA384", 0x1303: "TLS_CHACHA20_POLY1305_SHA256",
        0xc02b: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", 0xc02c: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        0xc02f: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", 0xc030: "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        0xcca8: "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", 0xcca9: "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        0xc009: "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", 0xc00a: "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
        0xc013: "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", 0xc014: "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
        0x009c: "TLS_RSA_WITH_AES_128_GCM_SHA256", 0x009d: "TLS_RSA_WITH_AES_256_GCM_SHA384",
        0x002f: "TLS_RSA_WITH_AES_128_CBC_SHA", 0x0035: "TLS_RSA_WITH_AES_256_CBC_SHA",
    ]
}
