import Glibc
import IPCWire
import NIOCore

/// A lookup without addresses.
struct LookupFailure: Error, Equatable {
    /// The name servers, or /etc/hosts, say that the name has no address. Otherwise this is unknown.
    var isDefinite: Bool
    /// The text of getaddrinfo: `Temporary failure in name resolution`.
    var text: String
}

/// Looks up names by the system's rules (/etc/hosts, DNS and other sources in nsswitch.conf), without blocking the
/// event loop.
enum NameLookup {
    typealias Outcome = Result<[SocketAddress], LookupFailure>
    /// Starts a lookup. The second argument is called once, on any thread.
    typealias Start = (_ name: String, _ completion: @escaping @Sendable (Outcome) -> Void) -> Void

    /// Each lookup blocks a thread: for up to 10 s per name server and search domain by the defaults of resolv.conf(5).
    /// With a pool of threads, a few hanging names could block all others.
    static func start(_ name: String, _ completion: @escaping @Sendable (Outcome) -> Void) {
        let work = Unmanaged.passRetained(LookupWork { completion(find(name)) })
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        var thread = pthread_t()
        let error = pthread_create(
            &thread, &attributes,
            { argument in
                guard let argument else { return nil }
                Unmanaged<LookupWork>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            }, work.toOpaque())
        guard error != 0 else { return }
        work.release()
        completion(.failure(LookupFailure(isDefinite: false, text: "no thread: \(String(cString: strerror(error)))")))
    }

    /// Blocks the thread.
    private static func find(_ name: String) -> Outcome {
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(name, nil, &hints, &list)
        guard code == 0, let list else { return .failure(failure(code)) }
        defer { freeaddrinfo(list) }
        let addresses = sequence(first: list, next: { $0.pointee.ai_next }).compactMap { address($0.pointee) }
        guard !addresses.isEmpty else { return .failure(LookupFailure(isDefinite: true, text: "no address of IP")) }
        return .success(alternating(addresses))
    }

    private static func failure(_ code: Int32) -> LookupFailure {
        if code == EAI_SYSTEM { return LookupFailure(isDefinite: false, text: String(cString: strerror(errno))) }
        // glibc hides EAI_NODATA (-5), the error for a name without an address, behind a feature macro.
        return LookupFailure(isDefinite: code == EAI_NONAME || code == -5, text: String(cString: gai_strerror(code)))
    }

    private static func address(_ info: addrinfo) -> SocketAddress? {
        guard let bytes = UnsafeRawPointer(info.ai_addr) else { return nil }
        switch info.ai_family {
        case AF_INET: return SocketAddress(bytes.loadUnaligned(as: sockaddr_in.self))
        case AF_INET6: return SocketAddress(bytes.loadUnaligned(as: sockaddr_in6.self))
        default: return nil
        }
    }

    /// The families by turns (RFC 8305, section 4), beginning with the one that the system prefers: one of the two may
    /// be unreachable as a whole.
    static func alternating(_ addresses: [SocketAddress]) -> [SocketAddress] {
        guard let first = addresses.first else { return [] }
        let preferred = addresses.filter { $0.protocol == first.protocol }
        let others = addresses.filter { $0.protocol != first.protocol }
        return (0..<max(preferred.count, others.count)).flatMap { index in
            [preferred, others].compactMap { index < $0.count ? $0[index] : nil }
        }
    }
}

/// The work of a lookup's thread, in the form that pthread_create takes.
private final class LookupWork {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}
