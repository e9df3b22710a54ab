/// Every key that apiworker reads.
extension ConfigurationKey {
    package static let port = ConfigurationKey("PORT", default: "3001", help: "Port of the HTTP API; workers share it.")
    package static let host = ConfigurationKey("HOST", default: "0.0.0.0", help: "Address of the HTTP API.")
    package static let databaseURL = ConfigurationKey(
        "DB_URL", help: "mongodb://[user:password@]host[:port][,…][/database][?options]; database 'test' by default.",
        isSecret: true)
    package static let origins = ConfigurationKey(
        "FRONTEND_ORIGIN_URL", help: "Origins of web pages that may use the API (CORS), separated by commas.")
    package static let l1Bytes = ConfigurationKey(
        "WORKER_L1_BYTES", default: String(64 << 20), help: "Bytes for the cache in the worker's own memory.")
    package static let auditOneIn = ConfigurationKey(
        "WORKER_AUDIT_ONE_IN", default: "1000",
        help: "One in N cache hits is compared with the database in the background; 0: none.")
    package static let graceSeconds = ConfigurationKey(
        "WORKER_GRACE_SECONDS", default: "0",
        help: "How long past its time to live a cached value is served while MongoDB fails or is slow.")
    package static let gzipBytes = ConfigurationKey(
        "WORKER_GZIP_BYTES", default: "0",
        help: "Bytes for cached bodies in gzip, kept beside the plain ones; 0: nothing is compressed.")

    package static let idleSeconds = ConfigurationKey(
        "WORKER_IDLE_SECONDS", default: "75",
        help: "How long a connection without a request stays open; longer than a load balancer keeps it.")
    package static let hosts = ConfigurationKey(
        "WORKER_HOSTS", help: "Host names under which the API may be called, separated by commas; empty: any.")

    package static let changeFeed = ConfigurationKey(
        "WORKER_CHANGE_FEED", default: "true",
        help: "Follow the database's change stream, so that writes of programs that do not invalidate are noticed.")

    package static let workerKeys = [
        port, host, databaseURL, origins, hosts, syncdSocket, l1Bytes, auditOneIn, graceSeconds, gzipBytes,
        idleSeconds, changeFeed, logLevel, logFormat,
    ]
}
