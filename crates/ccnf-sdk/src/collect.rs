//! Making an SDK from the sources.

use crate::cargo::{artifacts, is, metadata, output, program, version_of_compiler};
use crate::sdk::{DEPS, Description, FORMAT, LIBRARIES, Sdk};
use ccnf_core::{Error, ErrorKind, Result, temporary_name, write_atomic};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How an SDK is made.
#[derive(Debug, Clone)]
pub struct Collect {
    /// The sources of ccnf.
    pub source: PathBuf,
    /// The new folder.
    pub out: PathBuf,
    /// As the compiler optimises.
    pub release: bool,
    /// More features of the program, such as `onnx`.
    pub features: Vec<String>,
}

/// Fails unless `source` holds the sources of ccnf.
pub(crate) fn check_source(source: &Path) -> Result<PathBuf> {
    match source.join("crates/ccnf-cli/Cargo.toml").exists() {
        true => std::fs::canonicalize(source).map_err(|e| Error::io("open", source, e)),
        false => Err(Error::new(
            ErrorKind::Usage,
            format!("`{}` does not hold the sources of ccnf", source.display()),
        )
        .help("name their folder with --source DIR")),
    }
}

/// Fails unless `out` is a folder that can be filled: missing or empty.
pub(crate) fn check_empty(out: &Path) -> Result<()> {
    let empty =
        !out.exists() || std::fs::read_dir(out).map_err(|e| Error::io("list", out, e))?.next().is_none();
    match empty {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Usage, format!("`{}` is not empty", out.display()))
            .help("choose another folder: nothing was overwritten")),
    }
}

/// Builds the program with the shared core and collects what plugins need into a new folder.
pub fn collect(options: &Collect) -> Result<Sdk> {
    let source = check_source(&options.source)?;
    check_empty(&options.out)?;
    let mut command = Command::new(program());
    let features: Vec<String> =
        std::iter::once("dynamic".to_owned()).chain(options.features.iter().cloned()).collect();
    command
        .args(["build", "--package", "ccnf-cli", "--bin", "ccnf", "--features", &features.join(",")])
        .current_dir(&source);
    if options.release {
        command.arg("--release");
    }
    // The build leaves its program in the place of the ordinary one, which the user goes on using.
    let ordinary = Kept::of(&source, options.release)?;
    let found = artifacts(command, &source)?;
    let out = &options.out;
    let (libraries, deps) = (out.join(LIBRARIES), out.join(DEPS));
    for folder in [&libraries, &deps, &out.join("bin")] {
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create the folder", folder, e))?;
    }
    let (mut facade, mut testkit, mut core) = (None, None, None);
    let needed = of_the_core(&source, &features.join(","))?;
    let is_needed = |a: &&Value| a["executable"].is_string() || needed.contains(&a["package_id"]);
    for artifact in found.iter().filter(|a| !is(a, "custom-build")).filter(is_needed) {
        if let Some(binary) = artifact["executable"].as_str() {
            copy(Path::new(binary), &out.join("bin"))?;
            continue;
        }
        let name = artifact["target"]["name"].as_str().unwrap_or_default();
        let files = artifact["filenames"].as_array().cloned().unwrap_or_default();
        for file in files.iter().filter_map(Value::as_str).map(Path::new) {
            let kept = match file.extension().and_then(|e| e.to_str()) {
                Some("rmeta") => true,
                Some("rlib") => ["ccnf", "ccnf_testkit"].contains(&name),
                // The shared core, and the macros.
                Some("so") => true,
                _ => false,
            };
            if !kept {
                continue;
            }
            let copied = copy(file, &deps)?;
            let rlib = file.extension().is_some_and(|e| e == "rlib");
            match name {
                "ccnf" if rlib => facade = Some(copied),
                "ccnf_testkit" if rlib => testkit = Some(copied),
                "ccnf_dylib" => {
                    copy(file, &libraries)?;
                    core = Some(libraries.join(&copied));
                }
                _ => {}
            }
        }
    }
    drop(ordinary);
    standard_library(&source, &libraries)?;
    let missing = |what: &str| {
        Error::new(ErrorKind::Plugin, format!("the build has no {what}"))
            .help("are these the sources of this version?")
    };
    let description = Description {
        format: FORMAT.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        rustc: version_of_compiler(&source)?,
        id: ccnf_loader::sdk_id(&core.ok_or_else(|| missing("shared core"))?)?,
        ccnf: facade.ok_or_else(|| missing("crate `ccnf`"))?,
        testkit: testkit.ok_or_else(|| missing("crate `ccnf-testkit`"))?,
    };
    let text = serde_json::to_string_pretty(&description).unwrap_or_default() + "\n";
    // Last: a folder without it is no SDK.
    write_atomic(&out.join("sdk.json"), text.as_bytes())?;
    Sdk::open(out)
}

/// The ids of the packages that crates of the core are made of: the compiler reads their metadata for a plugin. The rest of the program, several
/// times as much, is none of a plugin's business.
fn of_the_core(source: &Path, features: &str) -> Result<Vec<Value>> {
    let mut command = Command::new(program());
    command
        .args(["metadata", "--format-version", "1", "--manifest-path", "crates/ccnf-cli/Cargo.toml"])
        .args(["--features", features])
        .current_dir(source);
    let metadata: Value = serde_json::from_str(&output(&mut command)?)
        .map_err(|e| Error::new(ErrorKind::Plugin, format!("cargo metadata: {e}")))?;
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    let roots = ["ccnf", "ccnf-testkit"];
    let packages = list(&metadata["packages"]);
    let is_root = |p: &&Value| roots.iter().any(|name| p["name"] == *name) && p["source"].is_null();
    let mut found: Vec<Value> = packages.iter().filter(is_root).map(|p| p["id"].clone()).collect();
    let nodes = list(&metadata["resolve"]["nodes"]);
    let mut at = 0;
    while at < found.len() {
        let node = nodes.iter().find(|n| n["id"] == found[at]).unwrap_or(&Value::Null);
        for dependency in list(&node["deps"]) {
            let is_normal = list(&dependency["dep_kinds"]).iter().any(|k| k["kind"].is_null());
            if is_normal && !found.contains(&dependency["pkg"]) {
                found.push(dependency["pkg"].clone());
            }
        }
        at += 1;
    }
    Ok(found)
}

/// The ordinary program, which comes back to its place when this is dropped.
struct Kept {
    program: PathBuf,
    aside: PathBuf,
}

impl Kept {
    /// Puts the program that was built from `source` aside, if there is one.
    fn of(source: &Path, release: bool) -> Result<Option<Kept>> {
        let metadata = metadata(source)?;
        let target = PathBuf::from(metadata["target_directory"].as_str().unwrap_or("target"));
        let program = target.join(if release { "release" } else { "debug" }).join("ccnf");
        let aside = temporary_name(&program);
        match std::fs::copy(&program, &aside) {
            Ok(_) => Ok(Some(Kept { program, aside })),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("copy", &program, e)),
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = std::fs::rename(&self.aside, &self.program);
    }
}

/// Copies a file into a folder; gives its name.
fn copy(file: &Path, folder: &Path) -> Result<String> {
    let name = file.file_name().unwrap_or_default();
    std::fs::copy(file, folder.join(name)).map_err(|e| Error::io("copy", file, e))?;
    Ok(name.to_string_lossy().into_owned())
}

/// The standard library as a shared one, which program and plugins use too.
fn standard_library(source: &Path, into: &Path) -> Result<()> {
    let folder =
        PathBuf::from(output(Command::new("rustc").args(["--print", "target-libdir"]).current_dir(source))?);
    let entries = std::fs::read_dir(&folder).map_err(|e| Error::io("list", &folder, e))?;
    let is_it = |name: &str| name.starts_with("libstd-") && name.ends_with(".so");
    let found = entries.flatten().find(|e| is_it(&e.file_name().to_string_lossy()));
    let found = found.ok_or_else(|| {
        Error::new(ErrorKind::Plugin, format!("`{}` has no shared standard library", folder.display()))
            .help("plugins are loaded on Linux on x86-64 and aarch64 only; elsewhere: ccnf plugin bundle")
    })?;
    copy(&found.path(), into).map(drop)
}
