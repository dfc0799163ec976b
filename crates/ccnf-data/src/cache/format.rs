//! The header of a cached file.
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | `ccnffeat` |
//! | 8..12 | version of the format |
//! | 12..16 | number of levels |
//! | 16..48 | BLAKE3 of the encoder's fingerprint |
//! | 48..80 | content hash of the image |
//! | 80..96 | BLAKE3 of the payload, cut to 16 bytes |
//! | 96..104 | length of the payload in bytes |
//! | 104.. | per level: height, width, channels (4 bytes each), then zeros up to a multiple of 64 |
//!
//! The payload follows: the levels one after the other as `f32`. All numbers are little endian.

use ccnf_core::LevelSpec;
use std::ops::Range;

const MAGIC: &[u8; 8] = b"ccnffeat";
const VERSION: u32 = 1;
const CHECKSUM: Range<usize> = 80..96;

/// What a file must be: everything in its header but the checksum follows from the key and the encoder.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    fingerprint: [u8; 32],
    levels: Vec<[u32; 3]>,
}

impl Layout {
    pub(super) fn new(fingerprint: &str, levels: &[LevelSpec]) -> Self {
        let dims = |l: &LevelSpec| [l.height, l.width, l.channels].map(|n| n as u32);
        Layout {
            fingerprint: *blake3::hash(fingerprint.as_bytes()).as_bytes(),
            levels: levels.iter().map(dims).collect(),
        }
    }

    fn lengths(&self) -> impl Iterator<Item = usize> {
        self.levels.iter().map(|dims| dims.iter().map(|&n| n as usize).product())
    }

    /// Where each level is, in values from the start of the file.
    pub(super) fn ranges(&self) -> Vec<Range<usize>> {
        let mut start = self.payload_start() / 4;
        let next = |len| {
            start += len;
            start - len..start
        };
        self.lengths().map(next).collect()
    }

    fn payload_start(&self) -> usize {
        (104 + 12 * self.levels.len()).next_multiple_of(64)
    }

    fn payload_len(&self) -> usize {
        4 * self.lengths().sum::<usize>()
    }

    /// The header with a checksum of zeros.
    fn header(&self, content: &[u8; 32]) -> Vec<u8> {
        let mut h = Vec::with_capacity(self.payload_start() + self.payload_len());
        h.extend(MAGIC);
        h.extend(VERSION.to_le_bytes());
        h.extend((self.levels.len() as u32).to_le_bytes());
        h.extend(self.fingerprint);
        h.extend(content);
        h.extend([0; 16]);
        h.extend((self.payload_len() as u64).to_le_bytes());
        h.extend(self.levels.iter().flatten().flat_map(|n| n.to_le_bytes()));
        h.resize(self.payload_start(), 0);
        h
    }

    /// The bytes of the file.
    pub(super) fn write(&self, content: &[u8; 32], levels: &[Vec<f32>]) -> Vec<u8> {
        let mut file = self.header(content);
        let start = file.len();
        for level in levels {
            match cfg!(target_endian = "little") {
                true => file.extend_from_slice(bytemuck::cast_slice(level)),
                false => file.extend(level.iter().flat_map(|v| v.to_le_bytes())),
            }
        }
        let sum = checksum(&file[start..]);
        file[CHECKSUM].copy_from_slice(&sum);
        file
    }

    /// Why `file` is not what [`write`](Layout::write) made for this content, if it is not.
    pub(super) fn check(&self, content: &[u8; 32], file: &[u8]) -> Result<(), String> {
        let expected = self.header(content);
        let start = expected.len();
        let Some(found) = file.get(..start) else {
            return Err(format!("{} bytes are too short for the header of {start}", file.len()));
        };
        let differs = |r: Range<usize>| found[r.clone()] != expected[r];
        if differs(0..8) {
            return Err("it does not start with `ccnffeat`".into());
        }
        if differs(8..12) {
            return Err(format!("its format version is not {VERSION}"));
        }
        if differs(16..48) {
            return Err("it belongs to another encoder".into());
        }
        if differs(48..80) {
            return Err("it belongs to another image".into());
        }
        if differs(12..16) || differs(96..start) {
            return Err("its levels have other shapes than the encoder's".into());
        }
        let payload = &file[start..];
        if payload.len() != self.payload_len() {
            return Err(format!(
                "expected {} bytes of features, found {}",
                self.payload_len(),
                payload.len()
            ));
        }
        if checksum(payload) != found[CHECKSUM] {
            return Err("the checksum of its features is wrong".into());
        }
        Ok(())
    }
}

fn checksum(payload: &[u8]) -> [u8; 16] {
    let mut sum = [0; 16];
    sum.copy_from_slice(&blake3::hash(payload).as_bytes()[..16]);
    sum
}
