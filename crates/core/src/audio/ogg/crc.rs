//! The checksum of an Ogg page: CRC-32 with polynomial 0x04c11db7, high bit first, initial value 0
//! and no final inversion (RFC 3533, section 6).

const POLYNOMIAL: u32 = 0x04c1_1db7;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc >> 31 == 1 { crc << 1 ^ POLYNOMIAL } else { crc << 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// The checksum over the parts as if they were one.
pub(super) fn crc32(parts: &[&[u8]]) -> u32 {
    let bytes = parts.iter().flat_map(|part| part.iter());
    bytes.fold(0, |crc, byte| crc << 8 ^ TABLE[(crc >> 24) as usize ^ usize::from(*byte)])
}

#[cfg(test)]
mod tests {
    use super::crc32;

    #[test]
    fn known_answer() {
        // The POSIX cksum polynomial's check value before its final inversion.
        assert_eq!(crc32(&[b"123456789"]), !0x765e_7680);
        assert_eq!(crc32(&[b"1234", b"", b"56789"]), !0x765e_7680);
        assert_eq!(crc32(&[]), 0);
    }
}
