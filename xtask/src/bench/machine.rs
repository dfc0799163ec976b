//! What the numbers were measured on.

use std::fs;
use std::process::Command;

/// The processor's name as the system tells it.
pub(crate) fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|l| l.starts_with("model name"));
    line.and_then(|l| l.split_once(": ")).map_or_else(|| std::env::consts::ARCH.into(), |(_, v)| v.trim().to_owned())
}

/// `rustc 1.95.0`.
pub(crate) fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output().map(|o| o.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// Starts measuring the peak of this process's memory anew, where the system can.
pub(crate) fn reset_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The peak of this process's resident memory in MiB, where the system tells it.
pub(crate) fn peak_mib() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}
