//! Cargo, called for the author.

use crate::sdk::Sdk;
use ccnf_core::{Error, ErrorKind, Result, ResultExt, read_file, write_atomic};
use serde_json::Value;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Builds the plugins in `folder` against `sdk`, seals them, and gives their files: one, or those of the workspace whose root `folder` is. `release` as the
/// compiler optimises, `options` go to `cargo build`.
pub fn build(sdk: &Sdk, folder: &Path, release: bool, options: &[String]) -> Result<Vec<PathBuf>> {
    let mut command = against(sdk, folder, "build", release)?;
    command.args(options);
    let found = artifacts(command, folder)?;
    let built = shared(&found, &chosen(&metadata(folder)?, options));
    match built.is_empty() {
        false => {
            for file in &built {
                // In its place, and not into the file itself, which cargo keeps elsewhere too and a process may have loaded.
                let whole =
                    ccnf_loader::sealed(read_file(file)?).at(|| format!("plugin `{}`", file.display()))?;
                write_atomic(file, &whole)?;
            }
            Ok(built)
        }
        true => {
            Err(Error::new(ErrorKind::Plugin, format!("the crate in `{}` is no plugin", folder.display()))
                .help("its Cargo.toml needs [lib] crate-type = [\"cdylib\", \"rlib\"]"))
        }
    }
}

/// The ids of the packages that `cargo build` was asked for; the others that it builds are dependencies, which may be shared libraries too.
fn chosen(metadata: &Value, options: &[String]) -> Vec<Value> {
    let selects =
        |o: &String| o.starts_with("-p") || o.starts_with("--package") || o == "--workspace" || o == "--all";
    let key = if options.iter().any(selects) { "workspace_members" } else { "workspace_default_members" };
    metadata[key].as_array().cloned().unwrap_or_default()
}

/// The shared libraries among the artifacts of these packages, one for each.
fn shared(artifacts: &[Value], packages: &[Value]) -> Vec<PathBuf> {
    let of = artifacts.iter().filter(|a| packages.contains(&a["package_id"]) && is(a, "cdylib"));
    let library = |file: &PathBuf| file.extension().is_some_and(|e| e == "so" || e == "dylib" || e == "dll");
    of.filter_map(|a| {
        a["filenames"].as_array()?.iter().filter_map(Value::as_str).map(PathBuf::from).find(library)
    })
    .collect()
}

/// Whether an artifact is of a target of this kind.
pub(crate) fn is(artifact: &Value, kind: &str) -> bool {
    artifact["target"]["kind"].as_array().is_some_and(|k| k.iter().any(|k| k == kind))
}

/// What cargo knows of the crate or workspace in `folder`, its dependencies left out.
pub(crate) fn metadata(folder: &Path) -> Result<Value> {
    let mut command = Command::new(program());
    command.args(["metadata", "--format-version", "1", "--no-deps"]).current_dir(folder);
    let text = output(&mut command)?;
    serde_json::from_str(&text).map_err(|e| Error::new(ErrorKind::Plugin, format!("cargo metadata: {e}")))
}

/// Runs the tests of the plugin in `folder` against `sdk`; `options` go to `cargo test`.
pub fn test(sdk: &Sdk, folder: &Path, options: &[String]) -> Result<()> {
    let mut command = against(sdk, folder, "test", false)?;
    command.args(options);
    let status = command.status().map_err(|e| Error::io("start", Path::new("cargo"), e))?;
    match status.success() {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Plugin,
            format!("the tests of the crate in `{}` fail", folder.display()),
        )
        .help("what cargo says stands above")),
    }
}

fn against(sdk: &Sdk, folder: &Path, what: &str, release: bool) -> Result<Command> {
    if !folder.join("Cargo.toml").exists() {
        let found = format!("`{}` holds no crate: there is no Cargo.toml", folder.display());
        return Err(Error::new(ErrorKind::Usage, found)
            .help("name the plugin's folder, or make one: ccnf plugin new NAME --kind coupling"));
    }
    let here = version_of_compiler(folder)?;
    if here != sdk.rustc() {
        let found =
            format!("the SDK `{}` was built by {}, here is {here}", sdk.path().display(), sdk.rustc());
        return Err(Error::new(ErrorKind::Plugin, found)
            .help("install that compiler (rustup toolchain install) and choose it: rustup override set"));
    }
    sdk.check()?;
    let mut command = Command::new(program());
    command.arg(what).current_dir(folder);
    if release {
        command.arg("--release");
    }
    // Options of the environment would replace those of a config file, so these come by the environment, which goes before all.
    let flags = sdk.rustflags(what == "test").join("\x1f");
    command.env("CARGO_ENCODED_RUSTFLAGS", &flags).env("CARGO_ENCODED_RUSTDOCFLAGS", &flags);
    command.env("CCNF_SDK_ID", sdk.id());
    Ok(command)
}

pub(crate) fn program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// `rustc --version` as it is chosen in `folder`.
pub(crate) fn version_of_compiler(folder: &Path) -> Result<String> {
    output(Command::new("rustc").arg("--version").current_dir(folder))
}

/// What a program prints, trimmed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_os_string();
    let done = command.stderr(Stdio::inherit()).output();
    let done =
        done.map_err(|e| Error::io("start", Path::new(&name), e).help("install Rust: https://rustup.rs"))?;
    if !done.status.success() {
        return Err(Error::new(ErrorKind::Plugin, format!("{} failed", name.to_string_lossy())));
    }
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

/// Runs a `cargo build` and gives the artifacts that it reports; its messages go to standard error.
pub(crate) fn artifacts(mut command: Command, folder: &Path) -> Result<Vec<Value>> {
    command.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|e| Error::io("start", Path::new("cargo"), e).help("install Rust: https://rustup.rs"))?;
    let mut found = vec![];
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines().map_while(|l| l.ok()) {
            let message: Value = serde_json::from_str(&line).unwrap_or_default();
            if message["reason"] == "compiler-artifact" {
                found.push(message);
            }
        }
    }
    let status = child.wait().map_err(|e| Error::io("wait for", Path::new("cargo"), e))?;
    match status.success() {
        true => Ok(found),
        false => Err(Error::new(ErrorKind::Plugin, format!("the build in `{}` failed", folder.display()))
            .help("what the compiler says stands above")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_plugin_of_a_workspace_is_reported_and_no_dependency() {
        let artifact = |id: &str, kind: &str| {
            let files = [format!("/t/lib{id}.rlib"), format!("/t/lib{id}.so")];
            json!({ "package_id": id, "target": { "kind": [kind, "rlib"] }, "filenames": files })
        };
        let found = [
            artifact("dep", "cdylib"),
            artifact("a", "cdylib"),
            artifact("helper", "lib"),
            artifact("b", "cdylib"),
        ];
        let metadata =
            json!({ "workspace_members": ["a", "b", "helper"], "workspace_default_members": ["b"] });
        let built = |options: &[&str]| {
            let options: Vec<String> = options.iter().map(|o| o.to_string()).collect();
            shared(&found, &chosen(&metadata, &options))
        };
        assert_eq!(built(&["--profile", "fast"]), [PathBuf::from("/t/libb.so")]);
        assert_eq!(built(&["--workspace"]), [PathBuf::from("/t/liba.so"), PathBuf::from("/t/libb.so")]);
    }
}
