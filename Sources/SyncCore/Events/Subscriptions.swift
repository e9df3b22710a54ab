import IPCWire
import NIOCore

/// Names in the order of insertion. Adding, finding and removing take constant time.
private struct OrderedNames: Sendable {
    private var places: [ByteBuffer: Int] = [:]
    /// Removed names are `nil` until they are as many as the others.
    private var names: [ByteBuffer?] = []

    var count: Int { places.count }
    var inOrder: some Sequence<ByteBuffer> { names.lazy.compactMap(\.self) }

    /// Returns whether the name is new.
    mutating func append(_ name: ByteBuffer) -> Bool {
        guard places[name] == nil else { return false }
        places[name] = names.count
        names.append(name)
        return true
    }

    /// Returns whether the name existed.
    mutating func remove(_ name: ByteBuffer) -> Bool {
        guard let place = places.removeValue(forKey: name) else { return false }
        names[place] = nil
        if names.count > 2 * places.count + 16 {
            names.removeAll { $0 == nil }
            for (place, name) in names.enumerated() { if let name { places[name] = place } }
        }
        return true
    }
}

/// The listeners of each channel and pattern, and the subscriptions that are needed upstream: a channel is subscribed
/// upstream while it has at least one listener here.
struct Subscriptions: Sendable {
    /// Listeners in the order of their subscriptions.
    private var channels: [ByteBuffer: [ClientID]] = [:]
    private var patterns: [ByteBuffer: [ClientID]] = [:]
    /// The names of all channels and patterns.
    private var channelNames = OrderedNames()
    private var patternNames = OrderedNames()
    private var ofClient: [ClientID: Own] = [:]
    private(set) var count = 0
    /// Number of pattern subscriptions of all clients.
    private(set) var patternCount = 0
    /// Length of all different patterns, in bytes.
    private var patternBytes = 0

    /// The subscriptions of one client, in order.
    private struct Own: Sendable {
        var channels = OrderedNames()
        var patterns = OrderedNames()
        var count: Int { channels.count + patterns.count }

        subscript(_ kind: Kind) -> OrderedNames {
            get { kind == .channel ? channels : patterns }
            _modify {
                if kind == .channel { yield &channels } else { yield &patterns }
            }
        }
    }

    enum Kind: Sendable {
        case channel
        case pattern
    }

    /// Number of subscriptions of a client, both kinds.
    func count(of client: ClientID) -> Int { ofClient[client]?.count ?? 0 }

    /// Number of subscriptions of one kind.
    func count(of client: ClientID, _ kind: Kind) -> Int {
        guard let own = ofClient[client] else { return 0 }
        return kind == .channel ? own.channels.count : own.patterns.count
    }

    var allChannels: [ByteBuffer] { Array(channelNames.inOrder) }
    var allPatterns: [ByteBuffer] { Array(patternNames.inOrder) }

    /// Returns whether this is the first listener here.
    mutating func add(_ name: ByteBuffer, _ kind: Kind, client: ClientID) -> Bool {
        let name = name.compacted
        guard ofClient[client, default: Own()][kind].append(name) else { return false }
        count += 1
        switch kind {
        case .channel:
            channels[name, default: []].append(client)
            return channelNames.append(name)
        case .pattern:
            patternCount += 1
            patterns[name, default: []].append(client)
            guard patternNames.append(name) else { return false }
            patternBytes += name.readableBytes
            return true
        }
    }

    /// Returns whether this was the last listener here.
    mutating func remove(_ name: ByteBuffer, _ kind: Kind, client: ClientID) -> Bool {
        guard ofClient[client]?[kind].remove(name) == true else { return false }
        if ofClient[client]?.count == 0 { ofClient[client] = nil }
        count -= 1
        switch kind {
        case .channel:
            channels[name]?.removeAll { $0 == client }
            guard channels[name]?.isEmpty == true else { return false }
            channels[name] = nil
            return channelNames.remove(name)
        case .pattern:
            patternCount -= 1
            patterns[name]?.removeAll { $0 == client }
            guard patterns[name]?.isEmpty == true else { return false }
            patterns[name] = nil
            patternBytes -= name.readableBytes
            return patternNames.remove(name)
        }
    }

    func names(of client: ClientID, _ kind: Kind) -> [ByteBuffer] {
        ofClient[client].map { Array($0[kind].inOrder) } ?? []
    }

    /// The listeners of a channel by name.
    func listeners(_ channel: ByteBuffer) -> [ClientID] { channels[channel] ?? [] }

    /// The most steps that a server takes to compare a channel with all patterns.
    func matchingSteps(_ channel: ByteBuffer) -> Int { patternBytes * channel.readableBytes }

    /// The listeners of a pattern as the server names it.
    func listeners(pattern: ByteBuffer) -> [ClientID] { patterns[pattern] ?? [] }

    /// The listeners of a channel by patterns, in the order of the patterns.
    func matches(_ channel: ByteBuffer) -> [(pattern: ByteBuffer, listeners: [ClientID])] {
        patternNames.inOrder.compactMap { pattern in
            guard globMatches(pattern, channel), let listeners = patterns[pattern] else { return nil }
            return (pattern, listeners)
        }
    }
}

/// Redis' glob: `*`, `?`, `[a-c]`, `[^x]`, `\` before a literal. Matches bytes, in time proportional to the product of
/// both lengths at worst: only the last `*` is ever tried again.
func globMatches(_ pattern: ByteBuffer, _ text: ByteBuffer) -> Bool {
    pattern.withUnsafeReadableBytes { p in
        text.withUnsafeReadableBytes { t in
            var i = 0
            var j = 0
            var star: (pattern: Int, text: Int)?
            while j < t.count {
                if i < p.count, p[i] == UInt8(ascii: "*") {
                    star = (i + 1, j)
                    i += 1
                    continue
                }
                if i < p.count, let next = matchOne(p, i, t[j]) {
                    i = next
                    j += 1
                    continue
                }
                guard let last = star else { return false }
                star = (last.pattern, last.text + 1)
                i = last.pattern
                j = last.text + 1
            }
            while i < p.count, p[i] == UInt8(ascii: "*") { i += 1 }
            return i == p.count
        }
    }
}

/// Matches one byte with the element of a pattern that begins at `start`; returns where the next one begins.
private func matchOne(_ p: UnsafeRawBufferPointer, _ start: Int, _ byte: UInt8) -> Int? {
    switch p[start] {
    case UInt8(ascii: "?"): return start + 1
    case UInt8(ascii: "\\") where start + 1 < p.count: return p[start + 1] == byte ? start + 2 : nil
    case UInt8(ascii: "["):
        var i = start + 1
        let isNegated = i < p.count && p[i] == UInt8(ascii: "^")
        if isNegated { i += 1 }
        var isFound = false
        while i < p.count, p[i] != UInt8(ascii: "]") {
            if p[i] == UInt8(ascii: "\\"), i + 1 < p.count {
                i += 1
                if p[i] == byte { isFound = true }
                i += 1
            } else if i + 2 < p.count, p[i + 1] == UInt8(ascii: "-") {
                let low = min(p[i], p[i + 2])
                let high = max(p[i], p[i + 2])
                if low <= byte, byte <= high { isFound = true }
                i += 3
            } else {
                if p[i] == byte { isFound = true }
                i += 1
            }
        }
        return isFound != isNegated ? min(i + 1, p.count) : nil
    default: return p[start] == byte ? start + 1 : nil
    }
}
