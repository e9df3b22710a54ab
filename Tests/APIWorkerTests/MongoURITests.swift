import CMongoC
import ProcessSupport
import TestSupport
import Testing

@testable import apiworker

@Suite struct MongoURITests {
    @Test(arguments: [
        ("mongodb://h", "test"), ("mongodb://h/", "test"), ("mongodb://h/?replicaSet=r", "test"),
        ("mongodb://h/shop", "shop"), ("mongodb://u:p%40ss@h:1,i:2/shop?authSource=admin", "shop"),
        ("mongodb://[::1]:27017/a_b-c", "a_b-c"),
    ])
    func `the database, or test`(url: String, database: String) throws {
        #expect(try MongoURI(url).database == database)
    }

    @Test(arguments: [
        "", "h", "http://h", "mongodb://", "mongodb:/h", "mongodb://h:x", "mongodb://h:0", "mongodb://h:65536",
        "mongodb:///db", "mongodb://h/a b?c=%", "redis://h",
    ])
    func `what is no connection string`(url: String) {
        #expect(throws: UnusableURI.self) { try MongoURI(url) }
    }

    @Test(arguments: [
        ("", 16), ("?maxPoolSize=1", 1), ("?maxPoolSize=0", 16), ("?maxPoolSize=-5", 1), ("?maxPoolSize=128", 128),
        ("?maxPoolSize=129", 128), ("?maxPoolSize=2147483647", 128),
    ])
    func `connections`(query: String, size: Int) throws {
        let uri = try MongoURI("mongodb://h/\(query)")
        #expect(uri.poolSize == size)
        #expect(try MongoClientPool(uri).size == size)
    }

    private static func milliseconds(_ uri: MongoURI, _ option: String) -> Int32 {
        mongoc_uri_get_option_as_int32(uri.pointer, option, -1)
    }

    @Test func `options that have no effect are known by name`() throws {
        let uri = try MongoURI("mongodb://h/d?replcaSet=a&w=majority&tls=true&uuidRepresentation=standard")
        #expect(uri.unknownOptions == ["replcaset", "uuidrepresentation"])
    }

    @Test func `waiting is short unless the URL says otherwise`() throws {
        let uri = try MongoURI("mongodb://h/?connectTimeoutMS=7000")
        #expect(Self.milliseconds(uri, MONGOC_URI_CONNECTTIMEOUTMS) == 7000)
        #expect(Self.milliseconds(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS) == 1900)
        #expect(Self.milliseconds(uri, MONGOC_URI_SOCKETTIMEOUTMS) == 5000)
        #expect(Self.milliseconds(uri, MONGOC_URI_WAITQUEUETIMEOUTMS) == 250)
    }

    @Test(arguments: ["tlsCAFile", "tlsCertificateKeyFile", "sslCertificateAuthorityFile"])
    func `a file that can't be read is named, and nothing else of the URL`(option: String) throws {
        let directory = try TemporaryDirectory()
        let url = "mongodb://u:hidden@h/?tls=true&\(option)=\(directory.file("ca.pem"))"
        let error = #expect(throws: ConfigurationError.self) { try MongoURI.checked(url) }
        let text = try #require(error?.description)
        #expect(
            error?.key == "DB_URL" && text.contains("ca.pem\", which can't be read: No such file or directory; give"),
            "\(text)")
        #expect(!text.contains("hidden"))
        try directory.write("", to: "ca.pem")
        #expect(try MongoURI.checked(url).database == "test")
    }

    @Test func `the primary, whatever the URL says, and no second attempt by the driver`() throws {
        let uri = try MongoURI("mongodb://h/?readPreference=secondary&w=1&wtimeoutMS=1&retryWrites=true")
        #expect(mongoc_read_prefs_get_mode(mongoc_uri_get_read_prefs_t(uri.pointer)) == MONGOC_READ_PRIMARY)
        #expect(mongoc_uri_get_option_as_bool(uri.pointer, MONGOC_URI_RETRYWRITES, true) == false)
        // Each write has a separate write concern.
        #expect(mongoc_write_concern_get_w(mongoc_uri_get_write_concern(uri.pointer)) == MONGOC_WRITE_CONCERN_W_DEFAULT)
    }

    @Test(arguments: [
        ("mongodb://u:secret@h?replicaSet=r", "Invalid host string in URI", "put a slash before the question mark"),
        ("mongodb://u:secret@h/?replicaSet", #"URI option "replicaSet" contains no "=" sign"#, "give mongodb://"),
        ("mongodb://u:pw@h/?secret", #"URI option "…" sign"#, "give mongodb://"),
        ("mongodb://u:secret%zz@h/", "Incorrect URI escapes in password", "give mongodb://"),
        ("mongodb://u:sec:ret@h/", "must not have unescaped chars", "give mongodb://"),
        ("mongodb://u:s3cr@tsecret@h:1/x", "more than one @", "percent-encode"),
        ("mongodb+srv://u:p@secret@h/", "more than one @", "percent-encode"),
        ("mongodb://u:pw@h/?w=-7", "Unsupported w value […]", "give mongodb://"),
        ("mongodb://u:secret@h,i/?directConnection=true", "Multiple seeds not allowed with directConnection", "give"),
        ("mongodb+srv://u:secret@a.b.c:1/", "Port numbers are prohibited in an SRV URI", "give"),
        ("h:27017", "Invalid URI Schema, expecting", "give mongodb://"),
    ])
    func `a malformed URL is refused with the reason, and nothing of its secrets`(
        url: String, reason: String, remedy: String
    ) throws {
        let error = #expect(throws: ConfigurationError.self) { try MongoURI.checked(url) }
        let text = try #require(error?.description)
        #expect(text.contains(reason) && text.contains(remedy) && text.hasPrefix("DB_URL: "), "\(text)")
        #expect(!text.contains("secret") && !text.contains("ret@") && !text.contains("sec:"), "\(text)")
    }
}
