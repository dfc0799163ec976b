//! What decides whether a compiled plugin fits this build, as one line for [`ccnf::abi`].

use std::path::{Path, PathBuf};
use std::{env, fs, process::Command};

/// The crates whose types cross the boundary between program and plugin.
const CORE: [&str; 4] = ["ccnf", "ccnf-core", "ccnf-data", "ccnf-tensor"];

fn main() {
    let crates = Path::new(&variable("CARGO_MANIFEST_DIR")).join("..");
    let mut files = vec![];
    for name in CORE {
        for part in ["Cargo.toml", "src"] {
            let path = crates.join(name).join(part);
            println!("cargo::rerun-if-changed={}", path.display());
            collect(&path, &mut files);
        }
    }
    files.sort();
    // FNV-1a: it tells builds apart and guards against nothing else.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for file in &files {
        let name = file.strip_prefix(&crates).unwrap_or(file).to_string_lossy().into_owned();
        for byte in name.bytes().chain(fs::read(file).unwrap_or_default()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    let facts = [
        ("version", variable("CARGO_PKG_VERSION")),
        ("source", format!("{hash:016x}")),
        ("rustc", compiler()),
        ("target", variable("TARGET")),
        ("profile", variable("PROFILE")),
        ("opt-level", variable("OPT_LEVEL")),
        ("debug-assertions", env::var("CARGO_CFG_DEBUG_ASSERTIONS").map_or("off", |_| "on").to_owned()),
        ("panic", variable("CARGO_CFG_PANIC")),
        ("cpu", variable("CARGO_CFG_TARGET_FEATURE")),
    ];
    let line: Vec<String> =
        facts.iter().map(|(key, value)| format!("{key}={}", value.replace(';', ","))).collect();
    println!("cargo::rustc-env=CCNF_ABI={}", line.join(";"));
    println!("cargo::rerun-if-changed=build.rs");
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// The compiler's release and commit.
fn compiler() -> String {
    let output = Command::new(variable("RUSTC")).arg("--version").output();
    output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
}

fn collect(path: &Path, into: &mut Vec<PathBuf>) {
    match fs::read_dir(path) {
        Ok(entries) => entries.flatten().for_each(|e| collect(&e.path(), into)),
        Err(_) => into.push(path.to_owned()),
    }
}
