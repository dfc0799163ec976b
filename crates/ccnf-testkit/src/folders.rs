//! Where test data lies.

use std::path::{Path, PathBuf};

fn from_env(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|v| !v.is_empty()).map(|v| {
        // A relative path starts at the root of the workspace, whatever folder the test runs in.
        let p = PathBuf::from(v);
        if p.is_absolute() { p } else { workspace().join(p) }
    })
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Present, or skipped loudly; with `CI=true` a missing folder is a failure.
fn present(path: PathBuf, what: &str, variable: &str) -> Option<PathBuf> {
    if path.exists() {
        return Some(path);
    }
    let message = format!("{what} not found at `{}`; set {variable} to test against them", path.display());
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{message} (CI=true: a missing folder is a failure)"
    );
    use std::io::Write;
    // Straight to the descriptor: the test harness hides what a passing test prints.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {message}");
    None
}

fn shared() -> PathBuf {
    from_env("CCNF_SHARED").unwrap_or_else(|| workspace().join("../shared"))
}

/// The folder of shared test material: `CCNF_SHARED`, else `shared` beside the workspace.
pub fn shared_folder() -> Option<PathBuf> {
    present(shared(), "shared test material", "CCNF_SHARED")
}

/// The folder of reference vectors: `CCNF_REFERENCE`, else `reference` in the shared folder.
pub fn reference_folder() -> Option<PathBuf> {
    present(
        from_env("CCNF_REFERENCE").unwrap_or_else(|| shared().join("reference")),
        "reference vectors",
        "CCNF_REFERENCE",
    )
}

/// The folder of real images in MVTec AD layout: `CCNF_DATA`, else `data/realad` in the shared folder.
pub fn data_folder() -> Option<PathBuf> {
    present(from_env("CCNF_DATA").unwrap_or_else(|| shared().join("data/realad")), "real images", "CCNF_DATA")
}
