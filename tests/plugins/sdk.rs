//! One SDK for all tests of a run.

use std::fs::{File, create_dir_all, read_dir, remove_dir_all};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The sources of ccnf.
pub(crate) fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folder of an SDK of these sources, not optimised. The first test that asks makes it.
pub(crate) fn sdk() -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sdk");
    create_dir_all(&all).unwrap();
    let lock = File::create(all.join("lock")).unwrap();
    lock.lock().unwrap();
    // One run of the tests is many processes.
    let run = std::env::var("NEXTEST_RUN_ID").unwrap_or_else(|_| std::process::id().to_string());
    let sdk = all.join(&run);
    if !sdk.join("sdk.json").exists() {
        for old in read_dir(&all).unwrap().flatten().map(|e| e.path()).filter(|p| p.is_dir()) {
            remove_dir_all(old).unwrap();
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_ccnf"));
        command.args(["plugin", "sdk", "--debug", "--source"]).arg(source()).arg(&sdk);
        said(command.output().unwrap());
    }
    sdk
}

/// The program of the SDK, which finds its libraries by itself.
pub(crate) fn ccnf(sdk: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(sdk.join("bin/ccnf"));
    // What this finds must not win over the program's own libraries.
    command.env("LD_LIBRARY_PATH", strange_libraries());
    command.args(args).env_remove("CCNF_PLUGINS").env_remove("CCNF_SDK");
    command
}

/// A folder with a shared core that is none.
fn strange_libraries() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("strange");
    create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("libccnf_dylib.so"), "not a library").unwrap();
    folder
}

/// What a successful program printed.
pub(crate) fn said(output: Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// Exit code and message of a program that failed.
pub(crate) fn failed(output: Output) -> (Option<i32>, String) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success(), "{out}\n{err}");
    (output.status.code(), format!("{out}{err}"))
}

/// A plugin's crate with this source, built against the SDK; gives its file.
pub(crate) fn built(sdk: &Path, folder: &Path, name: &str, source: &str) -> PathBuf {
    written(folder, name, source);
    build(sdk, folder)
}

/// The crate of a plugin with this source.
pub(crate) fn written(folder: &Path, name: &str, source: &str) {
    create_dir_all(folder.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n[workspace]\n"
    );
    std::fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    std::fs::write(folder.join("src/lib.rs"), source).unwrap();
}

/// Builds the plugin in `folder`, not optimised; gives its file.
pub(crate) fn build(sdk: &Path, folder: &Path) -> PathBuf {
    let text = said(ccnf(sdk, &["plugin", "build", "--debug"]).arg(folder).output().unwrap());
    let line = text.lines().find_map(|l| l.strip_prefix("built ")).unwrap();
    PathBuf::from(line)
}
