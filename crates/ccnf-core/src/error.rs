//! The error type of the framework.
//!
//! Every error says **what** went wrong, **where** (file, key path, image, class) and **what to do**.
//! Libraries return [`Error`]; the binary renders it with its [code](Error::code) and maps it to an
//! [exit code](Error::exit_code). Bad input never panics.

use std::fmt;
use std::path::{Path, PathBuf};

/// Shorthand for a result with the framework's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure an [`Error`] reports.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A config file, environment variable or `--set` does not parse, names an unknown key or has a wrong type or value.
    Config,
    /// A component name is not in the registry.
    UnknownComponent,
    /// The component is known, but this build leaves it out.
    NotBuilt,
    /// The command line asks for something impossible.
    Usage,
    /// A dataset's folders or manifest are not what the reader expects.
    Dataset,
    /// An image or mask cannot be read or used.
    Image,
    /// An encoder's model file or stored features do not fit.
    Encoder,
    /// Tensors of incompatible shapes or a tensor operation that failed.
    Tensor,
    /// A NaN or an infinity appeared where a finite number is needed.
    NonFinite,
    /// A checkpoint or run folder is damaged or belongs to another model.
    Checkpoint,
    /// Another process holds the folder.
    Locked,
    /// Reading or writing a file failed (a full disk among others).
    Io,
    /// A run-time plugin does not fit this program.
    Plugin,
    /// A component was called against its contract: a bug in the component or its caller.
    Contract,
    /// The process has to end at once: a failed allocation, a stack overflow, a panic that cannot be caught.
    Aborted,
}

/// An error of the framework: kind, message, place, advice and cause.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    context: Vec<String>,
    help: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A new error of `kind` with a message that says what is wrong.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, message: message.into(), context: vec![], help: None, source: None }))
    }

    /// A failed file operation: `action` is a verb such as "read" or "write".
    pub fn io(action: &str, path: &Path, source: std::io::Error) -> Self {
        let help = match source.kind() {
            std::io::ErrorKind::NotFound => {
                Some("check the path; relative paths start at the working directory")
            }
            std::io::ErrorKind::PermissionDenied => Some("check the permissions of the file and its folder"),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Some("free some space and run the same command again: finished work is kept")
            }
            _ => None,
        };
        let mut e = Error::new(ErrorKind::Io, format!("cannot {action} `{}`: {source}", path.display()));
        e.0.help = help.map(String::from);
        e.with_source(source)
    }

    /// Adds advice: what the user can do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Adds the place where it happened; the innermost place is added first.
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.0.context.push(place.into());
        self
    }

    /// Attaches the underlying error.
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message without place and advice.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The advice, if there is one.
    pub fn advice(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// The places, innermost first.
    pub fn places(&self) -> &[String] {
        &self.0.context
    }

    /// The stable code of this kind of error; `docs/errors.md` has a section for each.
    pub fn code(&self) -> &'static str {
        match self.0.kind {
            ErrorKind::Config => "C0001",
            ErrorKind::UnknownComponent => "C0002",
            ErrorKind::Usage => "C0003",
            ErrorKind::Dataset => "C0004",
            ErrorKind::Image => "C0005",
            ErrorKind::Encoder => "C0006",
            ErrorKind::Tensor => "C0007",
            ErrorKind::NonFinite => "C0008",
            ErrorKind::Checkpoint => "C0009",
            ErrorKind::Locked => "C0010",
            ErrorKind::Io => "C0011",
            ErrorKind::Contract => "C0012",
            ErrorKind::NotBuilt => "C0013",
            ErrorKind::Plugin => "C0014",
            ErrorKind::Aborted => "C0015",
        }
    }

    /// The exit code of the binary for this error: 2 usage and config, 3 input data, 4 files and disk,
    /// 5 numerics, 6 checkpoint or lock, 70 a bug.
    pub fn exit_code(&self) -> u8 {
        match self.0.kind {
            ErrorKind::Config
            | ErrorKind::UnknownComponent
            | ErrorKind::NotBuilt
            | ErrorKind::Plugin
            | ErrorKind::Usage => 2,
            ErrorKind::Dataset | ErrorKind::Image | ErrorKind::Encoder => 3,
            ErrorKind::Io => 4,
            ErrorKind::NonFinite => 5,
            ErrorKind::Checkpoint | ErrorKind::Locked => 6,
            ErrorKind::Tensor | ErrorKind::Contract | ErrorKind::Aborted => 70,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.message)?;
        for c in &self.0.context {
            write!(f, "\n  at {c}")?;
        }
        if let Some(h) = &self.0.help {
            write!(f, "\n  help: {h}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|s| s.as_ref() as _)
    }
}

impl From<ccnf_tensor::TensorError> for Error {
    fn from(e: ccnf_tensor::TensorError) -> Self {
        let kind = match e {
            ccnf_tensor::TensorError::NonFinite { .. } => ErrorKind::NonFinite,
            _ => ErrorKind::Tensor,
        };
        Error::new(kind, e.to_string())
    }
}

/// Adds a place to the error of a result.
pub trait ResultExt<T> {
    /// Adds the place where it happened to an error.
    fn at(self, place: impl FnOnce() -> String) -> Result<T>;
}

impl<T> ResultExt<T> for Result<T> {
    fn at(self, place: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| e.at(place()))
    }
}

/// "did you mean" for a misspelt name: the candidate closest to `bad`, if it is close.
pub fn did_you_mean<'a>(bad: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|c| (strsim::jaro_winkler(&c.to_lowercase(), &bad.to_lowercase()), c))
        .filter(|(score, _)| *score > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, c)| c)
}

/// Reads a whole file with a typed error.
pub fn read_file(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::io("read", path, e))
}

/// Replaces the file `path` by `bytes` so that a reader sees either the old or the new content, also after a crash:
/// writes to a temporary name in the same folder, syncs, renames, syncs the folder.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|e| Error::io("create the folder", folder, e))?;
    let tmp = temporary_name(path);
    let write = || -> std::io::Result<()> {
        let mut f = std::fs::File::create(&tmp)?;
        f.write_all(bytes)?;
        f.sync_all()?;
        std::fs::rename(&tmp, path)?;
        if let Ok(d) = std::fs::File::open(folder) {
            let _ = d.sync_all();
        }
        Ok(())
    };
    write().map_err(|e| {
        let _ = std::fs::remove_file(&tmp);
        Error::io("write", path, e)
    })
}

/// A name beside `path` that no other process or thread uses, on this machine or another: process ids repeat between containers and nodes.
pub fn temporary_name(path: &Path) -> PathBuf {
    use std::hash::{BuildHasher, Hasher, RandomState};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Keyed with random numbers of the operating system.
    static PROCESS: OnceLock<u64> = OnceLock::new();
    let process = PROCESS.get_or_init(|| RandomState::new().build_hasher().finish());
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!(".{name}.{process:016x}-{n}.tmp"))
}
