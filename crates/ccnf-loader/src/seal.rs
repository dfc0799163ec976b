//! The seal of a plugin's file: its own SHA-256, in its stamp. The system's loader trusts every byte of a file, and one that is wrong can end the
//! process by a signal; so a file is loaded only as it was built.

use crate::file::{broken, elf_file, sha256};
use ccnf::abi;
use ccnf::prelude::{Error, ErrorKind, Result};
use object::{Object, ObjectSection};
use std::ops::Range;

/// The plugin's file with its seal. Fails for a file that is no plugin.
pub fn sealed(mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    let digits = place(&bytes)?;
    bytes[digits.clone()].copy_from_slice(abi::UNSEALED.as_bytes());
    let seal = sha256(&bytes);
    bytes[digits].copy_from_slice(seal.as_bytes());
    Ok(bytes)
}

/// Fails unless the file is as it was sealed.
pub(crate) fn check(bytes: &[u8]) -> Result<()> {
    let digits = place(bytes)?;
    if bytes[digits.clone()] == *abi::UNSEALED.as_bytes() {
        return Err(broken("it has no seal: it was not made by ccnf plugin build"));
    }
    let whole = sealed(bytes.to_vec())?;
    match whole[digits.clone()] == bytes[digits] {
        true => Ok(()),
        false => Err(broken("the file is damaged, or was changed after it was built: its seal does not fit")),
    }
}

/// Where the digits of the seal are.
fn place(bytes: &[u8]) -> Result<Range<usize>> {
    let none = || {
        Error::new(ErrorKind::Plugin, "the library has no stamp, so it is no plugin")
            .help("lib.rs says `ccnf::plugin!();`, once")
    };
    let elf = elf_file(bytes)?;
    let section = elf.section_by_name(abi::SECTION).ok_or_else(none)?;
    let (offset, size) = section.file_range().ok_or_else(none)?;
    let (from, to) = (offset as usize, offset.saturating_add(size) as usize);
    let stamp = bytes.get(from..to).ok_or_else(none)?;
    let key = format!(";{}=", abi::SEAL);
    let at = stamp.windows(key.len()).position(|w| w == key.as_bytes()).ok_or_else(none)?;
    let digits = from + at + key.len()..from + at + key.len() + abi::UNSEALED.len();
    if digits.end > to {
        return Err(none());
    }
    Ok(digits)
}
