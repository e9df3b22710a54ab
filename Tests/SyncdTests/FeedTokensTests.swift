import IPCTesting
import NIOCore
import Testing

@testable import syncd

/// The files of the tokens on a host without Redis.
@Suite struct FeedTokensTests {
    private let name = ByteBuffer(string: String(repeating: "n", count: 200))

    @Test func `the last one is found, until it is removed`() throws {
        let folder = try ScratchFolder()
        let tokens = FeedTokens(directory: folder.path)
        #expect(tokens.token(name) == nil)
        for token in [ByteBuffer(repeating: 1, count: 16 << 10), ByteBuffer(repeating: 2, count: 40)] {
            #expect(tokens.store(name, token) == nil)
            #expect(tokens.token(name) == token)
        }
        #expect(tokens.store(name, nil) == nil)
        #expect(tokens.token(name) == nil)
        #expect(ScratchFolder.names(in: folder.path).isEmpty)
        #expect(tokens.store(name, nil) == nil, "there is none")
    }

    @Test func `a directory that is not there is an error`() {
        #expect(FeedTokens(directory: "/nonexistent").store(name, ByteBuffer(string: "t")) == 2)
    }
}
