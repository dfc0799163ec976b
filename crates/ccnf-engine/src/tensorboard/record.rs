//! The framing of records in an event file.

use std::io::{Read, Result};

/// The checksum of a record's parts: CRC-32C, rotated and shifted, `((crc >> 15) | (crc << 17)) + 0xa282ead8`, so that a record may itself
/// hold checksums (TensorFlow, `core/lib/hash/crc32c.h`).
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A TFRecord: length (`u64`), checksum of these 8 bytes (`u32`), data, checksum of the data (`u32`); all little-endian
/// (TensorFlow, `core/lib/io/record_writer.h`).
pub(super) fn frame(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut out = Vec::with_capacity(data.len() + 16);
    out.extend_from_slice(&length);
    out.extend_from_slice(&masked_crc(&length).to_le_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(&masked_crc(data).to_le_bytes());
    out
}

/// What stands at a place of a file.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// A whole record.
    Record(Vec<u8>),
    /// The end of the file, right after a record.
    End,
    /// Half a record, or something else.
    Damaged,
}

/// Reads record after record.
pub(super) struct Records<R> {
    source: R,
    offset: u64,
}

impl<R: Read> Records<R> {
    pub(super) fn new(source: R) -> Self {
        Records { source, offset: 0 }
    }

    /// Bytes up to the end of the last whole record.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record. Nothing is to be read after [`Next::Damaged`].
    pub(super) fn next(&mut self) -> Result<Next> {
        let head = self.bytes(12)?;
        if head.is_empty() {
            return Ok(Next::End);
        }
        let (Some(length), Some(sum)) = (head.first_chunk::<8>(), head.last_chunk::<4>()) else {
            return Ok(Next::Damaged);
        };
        if head.len() < 12 || masked_crc(length) != u32::from_le_bytes(*sum) {
            return Ok(Next::Damaged);
        }
        let length = u64::from_le_bytes(*length);
        let data = self.bytes(length)?;
        let sum = self.bytes(4)?;
        if data.len() as u64 != length || sum != masked_crc(&data).to_le_bytes() {
            return Ok(Next::Damaged);
        }
        self.offset += length + 16;
        Ok(Next::Record(data))
    }

    /// Up to `n` bytes, fewer only at the end. Grows with what is there, not with what a damaged length says.
    fn bytes(&mut self, n: u64) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.source.by_ref().take(n).read_to_end(&mut out)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> (Vec<Vec<u8>>, Next, u64) {
        let mut records = Records::new(bytes);
        let mut out = Vec::new();
        loop {
            match records.next().unwrap() {
                Next::Record(r) => out.push(r),
                last => return (out, last, records.offset()),
            }
        }
    }

    #[test]
    fn the_checksum_is_crc_32c() {
        // RFC 3720, B.4, and the check value of the catalogue of CRCs.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c::crc32c(&[0xff; 32]), 0x62a8_ab43);
        // 0xe3069283 rotated by 15 bits is 0x2507c60d.
        assert_eq!(masked_crc(b"123456789"), 0x2507_c60du32.wrapping_add(0xa282_ead8));
    }

    #[test]
    fn a_record_has_the_bytes_that_the_tensorboard_package_expects() {
        let event = b"\x09\0\0\0\0\0\0\xf8\x3f\x1a\x0dbrain.Event:2";
        let mut expected = b"\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22".to_vec();
        expected.extend_from_slice(event);
        expected.extend_from_slice(b"\x2a\x28\x64\x6c");
        assert_eq!(frame(event), expected);
    }

    #[test]
    fn records_come_back_and_a_cut_one_is_found_wherever_it_is_cut() {
        let parts: [&[u8]; 3] = [b"", b"one", &[7; 300]];
        let bytes: Vec<u8> = parts.iter().flat_map(|p| frame(p)).collect();
        let ends: Vec<usize> = [0, 16, 35, bytes.len()].into();
        for cut in 0..=bytes.len() {
            let (found, last, offset) = all(&bytes[..cut]);
            let whole = ends.iter().filter(|e| **e <= cut).count() - 1;
            assert_eq!(found, parts[..whole]);
            assert_eq!(offset, ends[whole] as u64);
            assert_eq!(last, if ends.contains(&cut) { Next::End } else { Next::Damaged });
        }
    }

    #[test]
    fn a_changed_bit_is_found() {
        let bytes = frame(b"some data");
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let (found, last, _) = all(&changed);
            assert!(found.is_empty(), "bit {bit}");
            assert_eq!(last, Next::Damaged);
        }
    }
}
