import Glibc
import NIOCore
import ProcessSupport

/// The server cannot listen on this address.
struct ListenError: Error, CustomStringConvertible {
    let description: String
    let status: ExitStatus

    init(host: String, port: Int, _ error: any Error) {
        let place = "HOST \(host), PORT \(port)"
        let code = (error as? IOError)?.errnoCode
        switch code {
        case EADDRINUSE:
            description = "\(place): another program listens there; stop it, or set PORT to another number"
            status = .failure
        case EACCES:
            description = "\(place): not allowed; set PORT to a number above 1023"
            status = .configuration
        default:
            let reason =
                code.map { String(cString: strerror($0)) }
                ?? (error is SocketAddressError ? "the name has no address" : "\(error)")
            description = "\(place): can't be listened on: \(reason); set HOST to an address of this computer"
            status = .configuration
        }
    }
}
