//! What a plugin's stamp says, against this program's.

use ccnf::abi;
use ccnf::prelude::{Error, ErrorKind, Result};

/// A plugin's name, its version, and the hash of the shared core it was built against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) sdk: String,
}

const AGAIN: &str = "build it again with the SDK of this program: ccnf plugin build --sdk DIR";

/// Compares every fact of the section with this program's. A plugin that another one has as a dependency has its stamp behind that one's.
pub(crate) fn check(section: &[u8]) -> Result<Stamp> {
    let stamps = section.chunks(abi::LEN).map(one).collect::<Result<Vec<_>>>()?;
    stamps.into_iter().next().ok_or_else(no_stamp)
}

fn no_stamp() -> Error {
    let found = format!("its section `{}` is not a stamp of ccnf, or one of another form", abi::SECTION);
    Error::new(ErrorKind::Plugin, found).help(AGAIN)
}

fn one(stamp: &[u8]) -> Result<Stamp> {
    let pairs = abi::read(stamp).ok_or_else(no_stamp)?;
    let get = |key: &str| pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
    let own = abi::pairs(abi::FACTS);
    let mut differs: Vec<String> = own
        .iter()
        .filter(|(key, value)| get(key) != Some(value))
        .map(|(key, value)| match key.as_str() {
            "source" => "source: the core has other sources".to_owned(),
            _ => format!("{key}: {} there, {value} here", get(key).unwrap_or("nothing")),
        })
        .collect();
    let known = |key: &str| {
        [abi::PLUGIN, abi::PLUGIN_VERSION, abi::SDK, abi::SEAL].contains(&key)
            || own.iter().any(|(k, _)| k == key)
    };
    differs.extend(
        pairs
            .iter()
            .filter(|(key, _)| !known(key))
            .map(|(key, value)| format!("{key}: {value} there, nothing here")),
    );
    let of = |key: &str| get(key).unwrap_or_default().to_owned();
    let stamp = Stamp { name: of(abi::PLUGIN), version: of(abi::PLUGIN_VERSION), sdk: of(abi::SDK) };
    if differs.is_empty() {
        return Ok(stamp);
    }
    let e = Error::new(
        ErrorKind::Plugin,
        format!("`{}` {} was built for another ccnf: {}", stamp.name, stamp.version, differs.join("; ")),
    );
    Err(e.help(AGAIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_stamp_fits_and_every_other_fact_is_named() {
        let own = abi::stamp("mine", "0.3.0", "1234");
        let found = check(&own).unwrap();
        assert_eq!(found, Stamp { name: "mine".into(), version: "0.3.0".into(), sdk: "1234".into() });
        for (key, value) in abi::pairs(abi::FACTS) {
            let text =
                String::from_utf8_lossy(&own).replace(&format!(";{key}={value}"), &format!(";{key}=other"));
            let e = check(text.as_bytes()).unwrap_err();
            assert!(e.message().contains("`mine` 0.3.0") && e.message().contains(&format!("{key}: ")), "{e}");
            assert_eq!(
                e.message().matches(" here").count() + e.message().matches("other sources").count(),
                1,
                "{e}"
            );
        }
        let more = String::from_utf8_lossy(&own).replace(";cuda=", ";tpu=on;cuda=");
        assert!(check(more.as_bytes()).unwrap_err().message().contains("tpu: on there, nothing here"));
        let two = [own, abi::stamp("other", "1.0.0", "1234")].concat();
        assert_eq!(check(&two).unwrap().name, "mine");
        let stale = String::from_utf8_lossy(&two[abi::LEN..]).replace(";panic=", ";panik=");
        let e = check(&[&own[..], stale.as_bytes()].concat()).unwrap_err();
        assert!(e.message().contains("`other` 1.0.0 was built for another ccnf"), "{e}");
        assert!(check(b"CCNFABI9").unwrap_err().message().contains("is not a stamp"));
    }
}
