//! An SDK that is there.

use ccnf_core::{Error, ErrorKind, Result, read_file};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

pub(crate) const FORMAT: &str = "ccnf-sdk/1";
/// The folder of the libraries.
pub(crate) const LIBRARIES: &str = "lib/ccnf";
/// The file of the shared core.
const CORE: &str = "libccnf_dylib.so";
/// The folder of the compiler's metadata.
pub(crate) const DEPS: &str = "deps";

/// `sdk.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) format: String,
    /// The version of ccnf.
    pub(crate) version: String,
    /// `rustc --version` of the build.
    pub(crate) rustc: String,
    /// Hash of the shared core.
    pub(crate) id: String,
    /// The file of the crate `ccnf` in `deps`.
    pub(crate) ccnf: String,
    /// The file of the crate `ccnf-testkit` in `deps`.
    pub(crate) testkit: String,
}

/// A binary SDK.
#[derive(Debug, Clone)]
pub struct Sdk {
    path: PathBuf,
    description: Description,
}

impl Sdk {
    /// Opens the SDK in `path`.
    pub fn open(path: &Path) -> Result<Sdk> {
        let path = std::fs::canonicalize(path).map_err(|e| Error::io("open the SDK", path, e))?;
        let file = path.join("sdk.json");
        let bytes = read_file(&file)
            .map_err(|e| e.help("an SDK is made by ccnf plugin sdk DIR, from the sources of ccnf"))?;
        let description: Description = serde_json::from_slice(&bytes)
            .map_err(|e| Error::new(ErrorKind::Plugin, format!("`{}` is damaged: {e}", file.display())))?;
        if description.format != FORMAT {
            let found = format!(
                "`{}` is an SDK of another form: {}, not {FORMAT}",
                path.display(),
                description.format
            );
            return Err(Error::new(ErrorKind::Plugin, found).help("make it again: ccnf plugin sdk DIR"));
        }
        Ok(Sdk { path, description })
    }

    /// The SDK that `path` names, else `CCNF_SDK`, else the one that this program is part of.
    pub fn find(path: Option<&Path>) -> Result<Sdk> {
        if let Some(path) = path {
            return Sdk::open(path);
        }
        if let Some(path) = std::env::var_os("CCNF_SDK").filter(|v| !v.is_empty()) {
            return Sdk::open(Path::new(&path));
        }
        let own = std::env::current_exe().ok().and_then(|p| std::fs::canonicalize(p).ok());
        let own = own
            .as_deref()
            .and_then(Path::parent)
            .and_then(Path::parent)
            .filter(|p| p.join("sdk.json").exists());
        match own {
            Some(path) => Sdk::open(path),
            None => Err(Error::new(ErrorKind::Usage, "which SDK? This program is not part of one").help(
                "name it with --sdk DIR or CCNF_SDK, or make one in the sources of ccnf: ccnf plugin sdk DIR",
            )),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The program that loads plugins.
    pub fn program(&self) -> PathBuf {
        self.path.join("bin/ccnf")
    }

    /// The compiler of the build.
    pub fn rustc(&self) -> &str {
        &self.description.rustc
    }

    /// Hash of the shared core.
    pub fn id(&self) -> &str {
        &self.description.id
    }

    /// Fails where the SDK is a mixture: its shared core is the one that it was made with, for the program and for the compiler.
    pub(crate) fn check(&self) -> Result<()> {
        for folder in [LIBRARIES, DEPS] {
            let core = self.path.join(folder).join(CORE);
            let found = ccnf_loader::sdk_id(&core)?;
            if found != self.id() {
                let what = format!(
                    "the SDK `{}` is damaged: `{folder}/{CORE}` has the id {found}, not {}",
                    self.path.display(),
                    self.id()
                );
                return Err(Error::new(ErrorKind::Plugin, what)
                    .help("make it again in a new folder: ccnf plugin sdk DIR"));
            }
        }
        Ok(())
    }

    /// The compiler's options for crates that use the SDK, or for their tests.
    pub(crate) fn rustflags(&self, tests: bool) -> Vec<String> {
        let (deps, libraries) = (self.path.join(DEPS), self.path.join(LIBRARIES));
        let of = |name: &str| deps.join(name).display().to_string();
        let mut flags = vec![
            // A crate of a plugin that the core has too is another crate; with another SDK all are compiled again.
            format!("-Cmetadata=ccnf-plugin-{}", self.id()),
            format!("-Ldependency={}", deps.display()),
            "--extern".into(),
            format!("ccnf={}", of(&self.description.ccnf)),
            "--extern".into(),
            format!("ccnf_testkit={}", of(&self.description.testkit)),
        ];
        if tests {
            // They are programs, which must find these libraries, whatever LD_LIBRARY_PATH says.
            let path = libraries.display().to_string();
            let to_linker = ["-rpath", &path, "--disable-new-dtags"]
                .map(|o| ["-Clink-arg=-Xlinker".into(), format!("-Clink-arg={o}")]);
            flags.extend(to_linker.into_iter().flatten());
        }
        flags
    }
}
