import Testing

@testable import IPC

@Suite struct KeyHashTests {
    /// Bytes 0, 1, 2 … of the given number. The values for the key 0 are those of CPython 3.11, which hashes bytes by
    /// SipHash-1-3 (`PYTHONHASHSEED=0`); those for the key 0, 1, 2 … are of the reference implementation.
    @Test(
        arguments: [
            (1, 0, 0x68a9_1412_8e01_e473), (7, 0, 0x2f09_8ab0_c751_325a), (8, 0, 0xead4_11e6_7ebe_2eea),
            (9, 0, 0x7592_7f9d_9512_4362), (17, 0, 0x4883_c49a_2c00_9c1d), (64, 0, 0x75e0_5fd5_bbc8_70c6),
            (0, 1, 0xabac_0158_050f_c4dc), (1, 1, 0xc9f4_9bf3_7d57_ca93),
        ] as [(Int, UInt64, UInt64)]) func `it is SipHash-1-3`(count: Int, key: UInt64, expected: UInt64)
    {
        let hash = KeyHash(key: (key * 0x0706_0504_0302_0100, key * 0x0f0e_0d0c_0b0a_0908))
        let bytes = (0..<count).map { UInt8($0) }
        #expect(bytes.withUnsafeBytes { hash($0) } == Int(truncatingIfNeeded: expected))
    }
}
