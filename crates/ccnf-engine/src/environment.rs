//! What a run was made with.

use serde_json::{Value, json};

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
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "cpu": cpu,
        "threads": rayon::current_num_threads(),
        "debug_assertions": cfg!(debug_assertions),
        "components": components,
    })
}
