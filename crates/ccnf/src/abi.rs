//! The stamp by which a loader knows, before any code of a plugin runs, whether it fits: Rust has no stable ABI, so a plugin is valid for
//! the very build of the core that it was compiled against.
//!
//! [`plugin!`](crate::plugin) puts it into the section [`SECTION`] of the plugin's file: [`MAGIC`], then `key=value` pairs joined by `;`, then
//! zeros. The pairs of [`FACTS`] come from the build of this crate, the others from the plugin.

/// The section of the file.
pub const SECTION: &str = ".ccnf.abi";
/// The bytes with which a stamp begins; the digit is the version of its form.
pub const MAGIC: &[u8; 8] = b"CCNFABI1";
/// Bytes of a stamp.
pub const LEN: usize = 2048;
/// The key of the plugin's name.
pub const PLUGIN: &str = "plugin";
/// The key of the plugin's version.
pub const PLUGIN_VERSION: &str = "plugin-version";
/// The key of the hash of the shared library that the plugin was built against.
pub const SDK: &str = "sdk";

/// The key of the seal: the SHA-256 of the whole file with [`UNSEALED`] in this place. `ccnf plugin build` writes it.
pub const SEAL: &str = "seal";
/// The seal of a file that has none yet.
pub const UNSEALED: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// `key=value;…` of this build: version and sources of the core, compiler, target, profile, processor features, backend.
pub const FACTS: &str = match ccnf_tensor::CUDA {
    true => concat!(env!("CCNF_ABI"), ";cuda=on"),
    false => concat!(env!("CCNF_ABI"), ";cuda=off"),
};

/// The stamp of a plugin; `sdk` is empty for one that was not built against an SDK.
pub const fn stamp(name: &str, version: &str, sdk: &str) -> [u8; LEN] {
    let parts: [&[u8]; 10] = [
        MAGIC,
        b"plugin=",
        name.as_bytes(),
        b";plugin-version=",
        version.as_bytes(),
        b";sdk=",
        sdk.as_bytes(),
        b";seal=",
        UNSEALED.as_bytes(),
        b";",
    ];
    let mut out = [0; LEN];
    let mut at = 0;
    let mut i = 0;
    while i < parts.len() {
        at = put(&mut out, at, parts[i]);
        i += 1;
    }
    put(&mut out, at, FACTS.as_bytes());
    out
}

/// A stamp that does not fit is an error at compile time: `stamp` is only evaluated there.
const fn put(out: &mut [u8; LEN], at: usize, part: &[u8]) -> usize {
    let mut i = 0;
    while i < part.len() {
        out[at + i] = part[i];
        i += 1;
    }
    at + part.len()
}

/// The pairs of a stamp, in their order; `None` for bytes that are none.
pub fn read(section: &[u8]) -> Option<Vec<(String, String)>> {
    let text = section.strip_prefix(MAGIC)?;
    let text = text.split(|b| *b == 0).next()?;
    Some(pairs(std::str::from_utf8(text).ok()?))
}

/// The pairs of `key=value;…`.
pub fn pairs(text: &str) -> Vec<(String, String)> {
    text.split(';').filter_map(|p| p.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// Makes the crate a plugin that can be loaded at run time. To be written once, in the crate's `lib.rs`; linked statically it does nothing.
///
/// ```
/// ccnf::plugin!();
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! plugin {
    () => {
        #[doc(hidden)]
        #[used]
        #[cfg_attr(target_os = "linux", unsafe(link_section = ".ccnf.abi"))]
        static CCNF_ABI_STAMP: [u8; $crate::abi::LEN] = $crate::abi::stamp(
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION"),
            match option_env!("CCNF_SDK_ID") {
                Some(id) => id,
                None => "",
            },
        );
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_reads_back() {
        let found = read(&stamp("my-plugin", "1.2.3", "abcd")).unwrap();
        let get = |key: &str| found.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
        assert_eq!(
            (get(PLUGIN), get(PLUGIN_VERSION), get(SDK), get(SEAL)),
            (Some("my-plugin"), Some("1.2.3"), Some("abcd"), Some(UNSEALED))
        );
        for key in [
            "version",
            "source",
            "rustc",
            "target",
            "profile",
            "opt-level",
            "debug-assertions",
            "panic",
            "cpu",
            "cuda",
        ] {
            assert!(get(key).is_some(), "{key}: {found:?}");
        }
        assert!(found[4..].iter().eq(&pairs(FACTS)));
        assert!(get("rustc").unwrap().starts_with("rustc 1."));
        assert_eq!(read(b"something else"), None);
    }
}
