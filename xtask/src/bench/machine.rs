//! What the numbers were measured on.

use std::fs;
use std::process::Command;
use std::time::Instant;

/// The processor's name as the system tells it.
pub(crate) fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|l| l.starts_with("model name"));
    line.and_then(|l| l.split_once(": "))
        .map_or_else(|| std::env::consts::ARCH.into(), |(_, v)| v.trim().to_owned())
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
    peak_mib_of(std::process::id())
}

/// The same for process `id`, as long as it lives.
pub(crate) fn peak_mib_of(id: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

/// Clock ticks per second of the kernel's accounts, fixed by its interface on all common architectures.
const TICKS: f64 = 100.0;

/// Processor seconds that the whole machine has been busy, and that process `id` has used.
fn busy(id: u32) -> Option<(f64, f64)> {
    let all = fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<f64> =
        all.lines().next()?.split_whitespace().skip(1).map_while(|f| f.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    let all = fields.iter().take(8).sum::<f64>() - fields.get(3)? - fields.get(4)?;
    let own = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let own: Vec<&str> = own.rsplit_once(')')?.1.split_whitespace().collect();
    let own = own.get(11)?.parse::<f64>().ok()? + own.get(12)?.parse::<f64>().ok()?;
    Some((all / TICKS, own / TICKS))
}

/// Watches how much of the machine everybody but one process uses.
pub(crate) struct Watch {
    id: u32,
    start: Instant,
    busy: Option<(f64, f64)>,
}

impl Watch {
    /// Starts to watch; process `id` is the one that is measured.
    pub(crate) fn start(id: u32) -> Self {
        Watch { id, start: Instant::now(), busy: busy(id) }
    }

    /// Cores that the others have used since; `None` where the system does not tell.
    pub(crate) fn others(&self) -> Option<f64> {
        let ((all, own), (all_then, own_then)) = (busy(self.id)?, self.busy?);
        Some(((all - all_then) - (own - own_then)) / self.start.elapsed().as_secs_f64().max(1e-3))
    }
}
