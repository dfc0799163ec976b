//! A new plugin's crate.

use crate::collect::check_empty;
use ccnf_core::{Error, ErrorKind, Result, did_you_mean, write_atomic};
use std::path::PathBuf;

macro_rules! kinds {
    ($($kind:literal),*) => {
        /// The kinds of components with their template, a file of the crate `plugins/template`.
        const TEMPLATES: &[(&str, &str)] =
            &[$(($kind, include_str!(concat!("../../../plugins/template/src/", $kind, ".rs")))),*];
        /// The kinds of components that a new plugin can begin with.
        pub const KINDS: &[&str] = &[$($kind),*];
    };
}

kinds!(
    "dataset",
    "encoder",
    "detector",
    "layer",
    "coupling",
    "conditioner",
    "regularizer",
    "scorer",
    "router",
    "strategy"
);

/// A plugin to be.
#[derive(Debug, Clone)]
pub struct New {
    /// The crate's name, and the component's where there is one: lower-case letters, digits and `-`.
    pub name: String,
    /// The kinds of its components.
    pub kinds: Vec<String>,
    /// Its folder.
    pub out: PathBuf,
}

/// Writes the crate of a new plugin: a working component of every kind that is asked for, with its tests.
pub fn new_plugin(new: &New) -> Result<()> {
    check_name(&new.name)?;
    let mut files = vec![];
    for kind in &new.kinds {
        let template = TEMPLATES.iter().find(|(name, _)| name == kind).ok_or_else(|| {
            let guess = did_you_mean(kind, KINDS.iter().copied())
                .map(|g| format!(" (did you mean `{g}`?)"))
                .unwrap_or_default();
            Error::new(ErrorKind::Usage, format!("no kind of component is called `{kind}`{guess}"))
                .help(format!("kinds: {}", KINDS.join(", ")))
        })?;
        if !files.contains(template) {
            files.push(*template);
        }
    }
    if files.is_empty() {
        return Err(Error::new(ErrorKind::Usage, "a plugin of no kind")
            .help(format!("name one or more with --kind: {}", KINDS.join(", "))));
    }
    check_empty(&new.out)?;
    let alone = files.len() == 1;
    let write = |name: &str, text: String| write_atomic(&new.out.join(name), text.as_bytes());
    for (kind, text) in &files {
        write(&format!("src/{kind}.rs"), renamed(text, &new.name, kind, alone))?;
    }
    let modules: String = files.iter().map(|(kind, _)| format!("mod {kind};\n")).collect();
    let list: Vec<String> =
        files.iter().map(|(kind, _)| format!("{kind} `{}`", component(&new.name, kind, alone))).collect();
    write("src/lib.rs", format!("//! A plugin of ccnf: {}.\n{modules}ccnf::plugin!();\n", list.join(", ")))?;
    write("Cargo.toml", MANIFEST.replace("NAME", &new.name))?;
    write(".gitignore", "/target\n/runs\n/suites\n".into())?;
    let first = files.first().map_or("", |(kind, _)| kind);
    let of_dataset = |kind: &str| format!(" --set {kind}/{}.path=DIR", component(&new.name, kind, alone));
    let options = files.iter().find(|(kind, _)| *kind == "dataset").map(|(kind, _)| of_dataset(kind));
    let readme = README
        .replace("COMPONENT", &component(&new.name, first, alone))
        .replace("OPTIONS", &options.unwrap_or_default())
        .replace("LIST", &list.join(", "))
        .replace("FILE", &new.name.replace('-', "_"))
        .replace("NAME", &new.name)
        .replace("KIND", first);
    write("README.md", readme)
}

fn check_name(name: &str) -> Result<()> {
    let letters = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let begins =
        name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-') && !name.contains("--");
    match letters && begins && !TAKEN.split_whitespace().any(|t| t == name) && name.len() <= 64 {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Usage, format!("`{name}` cannot be a plugin's name"))
            .help("at most 64 lower-case letters, digits and -, beginning with a letter, no word of Rust or name that `ccnf` has, such as my-coupling")),
    }
}

/// Names of crates, words of Rust, and names whose types would hide others.
const TAKEN: &str = "ccnf ccnf-testkit test core std alloc proc-macro as async await box break build config const continue crate debug default dyn else \
    enum error extern false fn for if impl in let loop mat match mod move mut option param pub ref result return self static string \
    struct super trait true type unsafe use var vec where while";

/// The name of the component in configs.
fn component(name: &str, kind: &str, alone: bool) -> String {
    if alone { name.to_owned() } else { format!("{name}-{kind}") }
}

/// The template's text with the plugin's name where the template's stands.
fn renamed(text: &str, name: &str, kind: &str, alone: bool) -> String {
    let (own, of_kind) = (camel(name), camel(kind));
    let types = if alone { own.clone() } else { format!("{own}{of_kind}") };
    text.replace(&format!("template-{kind}"), &component(name, kind, alone))
        .replace(&format!("Template{of_kind}"), &types)
        .replace("template_", &format!("{}_", name.replace('-', "_")))
        .replace("Template", &own)
        .replace("template", name)
}

/// `my-name` as `MyName`.
fn camel(name: &str) -> String {
    let part = |part: &str| part[..1].to_ascii_uppercase() + &part[1..];
    name.split('-').filter(|p| p.is_ascii() && !p.is_empty()).map(part).collect()
}

const MANIFEST: &str = r#"[package]
name = "NAME"
version = "0.1.0"
edition = "2024"

[lib]
crate-type = ["cdylib", "rlib"]

# `ccnf` and `ccnf_testkit` are not named here: they come from the SDK (`ccnf plugin build`, `ccnf plugin test`) or, linked statically, from the
# sources (`ccnf plugin bundle`). With a dependency of its own a plugin would carry a second core, and would not be loaded.
[dependencies]

[workspace]
"#;

const README: &str = r#"# NAME

A plugin of ccnf: LIST.

```sh
ccnf plugin test                                   # the contract of its kind, and its own tests
ccnf plugin build                                  # target/release/libFILE.so
ccnf plugin check target/release/libFILE.soOPTIONS        # would the program take it, and is it right?
ccnf --plugin target/release/libFILE.so describe KIND/COMPONENT
```

In a config: `[plugins] paths = ["target/release/libFILE.so"]`, and `kind = "COMPONENT"` where a KIND stands.
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str, kinds: &[&str]) -> (tempfile::TempDir, Result<()>) {
        let folder = tempfile::tempdir().unwrap();
        let kinds = kinds.iter().map(|k| (*k).to_owned()).collect();
        let done = new_plugin(&New { name: name.into(), kinds, out: folder.path().join("made") });
        (folder, done)
    }

    #[test]
    fn the_name_stands_wherever_the_templates_stood() {
        for kinds in [&["coupling"][..], KINDS] {
            let (folder, done) = made("my-own", kinds);
            done.unwrap();
            for kind in kinds {
                let text =
                    std::fs::read_to_string(folder.path().join(format!("made/src/{kind}.rs"))).unwrap();
                assert!(!text.to_lowercase().contains("template"), "{kind}: {text}");
                assert!(
                    text.contains(&format!("\"{}\"", component("my-own", kind, kinds.len() == 1))),
                    "{kind}: {text}"
                );
                assert!(text.contains("MyOwn"), "{kind}: {text}");
            }
            let lib = std::fs::read_to_string(folder.path().join("made/src/lib.rs")).unwrap();
            assert!(
                lib.contains("ccnf::plugin!();") && kinds.iter().all(|k| lib.contains(&format!("mod {k};"))),
                "{lib}"
            );
        }
    }

    #[test]
    fn a_complete_coupling_is_at_most_80_lines() {
        let (folder, done) = made("short", &["coupling"]);
        done.unwrap();
        let lines = |name: &str| {
            std::fs::read_to_string(folder.path().join("made/src").join(name)).unwrap().lines().count()
        };
        assert!(lines("lib.rs") + lines("coupling.rs") <= 80);
    }

    #[test]
    fn the_book_shows_the_file_that_is_made() {
        let (folder, done) = made("my-coupling", &["coupling"]);
        done.unwrap();
        let text = std::fs::read_to_string(folder.path().join("made/src/coupling.rs")).unwrap();
        let (_, code) = text.split_once("\n\n").unwrap();
        assert!(include_str!("../../../docs/plugins/first-coupling.md").contains(code.trim_end()), "{code}");
    }

    #[test]
    fn bad_names_kinds_and_folders_are_refused() {
        for name in ["", "My", "a b", "-a", "a-", "a--b", "ccnf", "9a", "self", "result"] {
            assert!(
                made(name, &["coupling"]).1.unwrap_err().message().contains("cannot be a plugin's name"),
                "{name}"
            );
        }
        let e = made("a", &["copling"]).1.unwrap_err().to_string();
        assert!(e.contains("did you mean `coupling`"), "{e}");
        assert!(made("a", &[]).1.unwrap_err().to_string().contains("--kind"));
        let (folder, done) = made("a", &["coupling"]);
        done.unwrap();
        let again = new_plugin(&New {
            name: "a".into(),
            kinds: vec!["coupling".into()],
            out: folder.path().join("made"),
        });
        assert!(again.unwrap_err().message().contains("is not empty"));
    }
}
