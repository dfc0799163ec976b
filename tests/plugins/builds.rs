//! Plugins that were really built for something else than the program at hand.

use crate::hostile::HOSTILE;
use crate::sdk::{said, source};
use std::fs::{canonicalize, copy, create_dir_all, read_dir, read_to_string, write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The same source with `ccnf` as a dependency of its own, compiled at this level.
pub(crate) fn with_own_core(folder: &Path, name: &str, level: u8) -> PathBuf {
    let folder = folder.join(name);
    let ccnf = canonicalize(source().join("crates/ccnf")).unwrap();
    plugin(&folder, name, &format!("{{ path = {ccnf:?} }}"));
    let mut manifest = read_to_string(folder.join("Cargo.toml")).unwrap();
    manifest += &format!("[workspace]\n{}\n[profile.dev.package.ccnf]\nopt-level = {level}\n", profiles());
    write(folder.join("Cargo.toml"), manifest).unwrap();
    copy(source().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    cargo_build(&folder, &target(), "");
    target().join(format!("debug/lib{name}.so"))
}

/// The plugin `layout`, built against a shared core whose crates have the names, versions, compiler and level of the program's, and whose `Param`
/// lies otherwise in memory. It says that it was built with the SDK `id`.
pub(crate) fn with_another_layout(id: &str) -> PathBuf {
    // Kept from one run of the tests to the next, with what was built.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("layout");
    for name in ["ccnf", "ccnf-core", "ccnf-data", "ccnf-tensor", "dylib"] {
        copy_folder(&source().join("crates").join(name), &folder.join("crates").join(name));
    }
    let param = folder.join("crates/ccnf-tensor/src/param.rs");
    let text = read_to_string(&param).unwrap();
    let changed = text.replace("pub struct Param {", "#[repr(align(64))]\npub struct Param {");
    assert_ne!(text, changed);
    write(param, changed).unwrap();
    let mut root: toml::Table = read_to_string(source().join("Cargo.toml")).unwrap().parse().unwrap();
    let workspace = root["workspace"].as_table_mut().unwrap();
    workspace.insert("members".into(), vec!["crates/ccnf*", "layout"].into());
    workspace.remove("default-members");
    // Only the core itself has to be compiled as the program's is.
    let profile =
        "[dev]\nopt-level = 1\ndebug = 0\n[dev.package.\"*\"]\nopt-level = 0\n".parse::<toml::Table>();
    root.insert("profile".into(), profile.unwrap().into());
    write(folder.join("Cargo.toml"), root.to_string()).unwrap();
    copy(source().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    plugin(&folder.join("layout"), "layout", "{ workspace = true, features = [\"dynamic\"] }");
    // A shared core of its own must not replace the one of the workspace.
    cargo_build(&folder.join("layout"), &folder.join("target"), id);
    folder.join("target/debug/liblayout.so")
}

/// A library with the stamp of the plugin `good`, compiled for aarch64. `None`, loudly, without a compiler for that; with `CI=true` that is a failure.
pub(crate) fn for_aarch64(folder: &Path, stamp: &[u8]) -> Option<PathBuf> {
    const COMPILER: &str = "aarch64-linux-gnu-gcc";
    let bytes: Vec<String> = stamp.iter().map(u8::to_string).collect();
    let code = format!(
        "__attribute__((used, section(\".ccnf.abi\"))) static const unsigned char stamp[] = {{ {} }};\nint components(void) {{ return 1; }}\n",
        bytes.join(", ")
    );
    let (from, to) = (folder.join("aarch64.c"), folder.join("aarch64.so"));
    write(&from, code).unwrap();
    let mut command = Command::new(COMPILER);
    match command.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&to).arg(&from).output() {
        Ok(output) => said(output),
        Err(e) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{COMPILER}: {e}");
            use std::io::Write;
            // Straight to the descriptor: the test harness hides what a passing test prints.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: no plugin is built for aarch64: {COMPILER}: {e} (Debian: gcc-aarch64-linux-gnu)"
            );
            return None;
        }
    };
    Some(to)
}

/// The folder that the workspace is built into.
pub(crate) fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_owned()
}

/// A plugin's crate that depends on `ccnf` like this.
fn plugin(folder: &Path, name: &str, ccnf: &str) {
    create_dir_all(folder.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n[dependencies]\nccnf = {ccnf}\n"
    );
    write(folder.join("Cargo.toml"), manifest).unwrap();
    write(folder.join("src/lib.rs"), HOSTILE).unwrap();
}

/// The profiles of the workspace, as TOML.
fn profiles() -> String {
    let root: toml::Table = read_to_string(source().join("Cargo.toml")).unwrap().parse().unwrap();
    toml::Table::from_iter([("profile".to_owned(), root["profile"].clone())]).to_string()
}

fn cargo_build(folder: &Path, target: &Path, sdk: &str) {
    let mut command = Command::new("cargo");
    command.arg("build").current_dir(folder).env("CARGO_TARGET_DIR", target).env("CCNF_SDK_ID", sdk);
    said(command.output().unwrap());
}

fn copy_folder(from: &Path, to: &Path) {
    create_dir_all(to).unwrap();
    for entry in read_dir(from).unwrap().flatten().map(|e| e.path()) {
        let into = to.join(entry.file_name().unwrap());
        match entry.is_dir() {
            true => copy_folder(&entry, &into),
            false => drop(copy(&entry, &into).unwrap()),
        }
    }
}
