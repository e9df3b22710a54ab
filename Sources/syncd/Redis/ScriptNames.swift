import IPCWire
import NIOCore

/// The names of syncd's scripts on the connected server: the SHA-1 of their sources, which SCRIPT LOAD returns.
///
/// Redis forgets scripts at a restart and on SCRIPT FLUSH; then they are sent whole, once, and named again. A server
/// that allows no SCRIPT LOAD or no EVALSHA gets them whole each time.
struct ScriptNames {
    private var names: [RedisScript.Kind: ByteBuffer] = [:]
    private var asked: Set<RedisScript.Kind> = []
    private var isForbidden = false

    func name(of script: RedisScript) -> ByteBuffer? { isForbidden ? nil : names[script.kind] }

    /// Whether to send SCRIPT LOAD now; its reply goes to ``learnt(_:_:)``.
    mutating func shouldLearn(_ script: RedisScript) -> Bool { !isForbidden && asked.insert(script.kind).inserted }

    mutating func learnt(_ script: RedisScript, _ reply: RESPValue) {
        switch reply {
        case .bulkString(let name) where Self.isName(name): names[script.kind] = name
        case .bulkString: isForbidden = true
        case .error(let text) where ForbiddenCommand.isRefusal(text): isForbidden = true
        default: asked.remove(script.kind)
        }
    }

    /// A SHA-1 in hexadecimal digits.
    private static func isName(_ text: ByteBuffer) -> Bool {
        text.readableBytes == 40
            && text.readableBytesView.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }

    /// EVALSHA was answered by an error. Returns whether the error concerns the name only, so that the script can be
    /// sent whole instead.
    mutating func refused(_ script: RedisScript, _ text: ByteBuffer) -> Bool {
        let message = String(buffer: text)
        if message.hasPrefix("NOSCRIPT") {
            names[script.kind] = nil
            asked.remove(script.kind)
            return true
        }
        // "can't run this command" of an ACL, "unknown command" of a proxy. An error of the script itself, or a
        // forbidden key or channel, would occur with EVAL as well.
        let isCommand = message.lowercased().contains("evalsha") && ForbiddenCommand.isRefusal(text)
        if isCommand { isForbidden = true }
        return isCommand
    }
}
