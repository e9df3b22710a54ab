import NIOCore

@testable import IPCWire

/// The common interface of both decoders, so that one test can drive either.
protocol FrameDecoder {
    associatedtype Frame
    init(limits: WireLimits)
    mutating func feed(_ chunk: ByteBuffer)
    mutating func next() throws(RESPError) -> Frame?
    var bytesExamined: Int { get }
    var heldBytes: Int { get }
    static func show(_ frame: Frame) -> String
}

extension CommandDecoder: FrameDecoder {
    static func show(_ frame: [ByteBuffer]) -> String { "[\(frame.map(\.escaped).joined(separator: "|"))]" }
}

extension RESPDecoder: FrameDecoder {
    static func show(_ frame: RESPValue) -> String { frame.shown }
}

extension FrameDecoder {
    /// All frames that are complete by now, each as text; the last one is `!` and the error, if there is one.
    mutating func drain() -> [String] {
        var shown: [String] = []
        do throws(RESPError) {
            while let frame = try next() { shown.append(Self.show(frame)) }
        } catch {
            shown.append("!\(error)")
        }
        return shown
    }

    /// The frames of these chunks. Nothing is fed after an error.
    static func decode(_ chunks: some Sequence<ArraySlice<UInt8>>, limits: WireLimits = WireLimits()) -> [String] {
        var decoder = Self(limits: limits)
        var shown: [String] = []
        for chunk in chunks {
            decoder.feed(ByteBuffer(bytes: chunk))
            shown += decoder.drain()
            if shown.last?.hasPrefix("!") == true { break }
        }
        return shown
    }

    /// The frames of these bytes in one chunk.
    static func decode(_ bytes: [UInt8], limits: WireLimits = WireLimits()) -> [String] {
        decode([bytes[...]], limits: limits)
    }
}

extension RESPValue {
    /// One character for the type, then what is in it.
    var shown: String {
        func list(_ parts: [RESPValue]) -> String { parts.map(\.shown).joined(separator: " ") }
        return switch self {
        case .simpleString(let bytes): "+\(bytes.escaped)"
        case .error(let bytes): "-\(bytes.escaped)"
        case .integer(let number): ":\(number)"
        case .bulkString(let bytes): "$\(bytes.escaped)"
        case .array(let parts): "*[\(list(parts))]"
        case .null: "_"
        case .map(let parts): "%[\(list(parts))]"
        case .set(let parts): "~[\(list(parts))]"
        case .push(let parts): ">[\(list(parts))]"
        case .double(let number): ",\(number)"
        case .boolean(let flag): flag ? "#t" : "#f"
        case .bigNumber(let digits): "(\(digits.escaped)"
        case .verbatim(let bytes): "=\(bytes.escaped)"
        }
    }
}

extension Sequence<UInt8> {
    /// In pieces of `size` bytes.
    func pieces(of size: Int) -> [ArraySlice<UInt8>] {
        let bytes = Array(self)
        return stride(from: 0, to: bytes.count, by: size).map { bytes[$0..<Swift.min($0 + size, bytes.count)] }
    }
}

/// The bytes of a text and of what is not text.
func wire(_ parts: any Sequence<UInt8>...) -> [UInt8] { parts.flatMap { Array($0) } }

extension [UInt8] {
    init(_ text: String) { self.init(text.utf8) }
}
