//! What a run was made with.

use serde_json::{Value, json};

/// The first 16 hex digits of the BLAKE3 of the running program: two builds of one version have two.
fn executable() -> Option<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_mmap(std::env::current_exe().ok()?).ok()?;
    Some(hasher.finalize().to_hex()[..16].to_owned())
}

/// Program, platform and threads, for `environment.json`.
pub fn environment() -> Value {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|t| {
        t.lines().find(|l| l.starts_with("model name")).and_then(|l| l.split(": ").nth(1).map(str::to_owned))
    });
    let components: Vec<Value> = ccnf_core::list_all()
        .iter()
        .map(|c| json!({"kind": c.kind, "name": c.name, "crate": c.krate, "version": c.version}))
        .collect();
    json!({
        "ccnf": env!("CARGO_PKG_VERSION"),
        "executable": executable(),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "cpu": cpu,
        "threads": rayon::current_num_threads(),
        "debug_assertions": cfg!(debug_assertions),
        "components": components,
    })
}
