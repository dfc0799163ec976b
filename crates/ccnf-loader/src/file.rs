//! What a plugin's file says of itself, before any code of it runs.

use crate::stamp;
use ccnf::abi;
use ccnf::core::read_file;
use ccnf::prelude::{Error, ErrorKind, Result, ResultExt};
use object::Endianness;
use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn, ElfFile, FileHeader, Sym};
use object::{Object, ObjectSection};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The name of the shared core, without what the compiler may append.
pub(crate) const CORE: &str = "libccnf_dylib";

/// A plugin whose file fits this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// The file, without links.
    pub path: PathBuf,
    /// Its SHA-256.
    pub sha256: String,
    /// The plugin's name: that of its crate.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The shared libraries it needs.
    pub needed: Vec<String>,
    /// The hash of the shared core that it was built against.
    pub(crate) sdk: String,
    /// Rust symbols that it takes from other libraries.
    pub(crate) undefined: Vec<String>,
}

/// Reads a plugin's file and compares it with this program. No code of the plugin runs.
///
/// Fails where the file cannot be read, has another SHA-256 than `pinned`, is cut short or no shared library for this processor, has no stamp, has
/// a stamp of another build, does not use the shared core, or is not as it was sealed.
pub fn inspect(path: &Path, pinned: Option<&str>) -> Result<Inspected> {
    let place = || format!("plugin `{}`", path.display());
    let path = std::fs::canonicalize(path).map_err(|e| {
        let e = Error::io("read the plugin", path, e);
        match pinned {
            Some(hash) => e.help(format!(
                "if it has moved, name the file with `--plugin FILE`: it is known by its SHA-256, {hash}"
            )),
            None => e,
        }
    })?;
    if path.to_str().is_none() {
        return Err(Error::new(
            ErrorKind::Plugin,
            "the file's path is not UTF-8, which a run could not note down",
        )
        .at(place())
        .help("rename the file or its folder"));
    }
    begins_as_elf(&path).at(place)?;
    let bytes = read_file(&path)?;
    let hash = sha256(&bytes);
    if let Some(wanted) = pinned.filter(|wanted| !wanted.eq_ignore_ascii_case(&hash)) {
        let e = Error::new(
            ErrorKind::Plugin,
            format!("the file is not the pinned one: its SHA-256 is {hash}, pinned is {wanted}"),
        );
        return Err(e.at(place()).help("get the right file, or pin this one if you trust it"));
    }
    let found = elf_file(&bytes).and_then(|elf| facts(&elf)).at(place)?;
    // Last: what a whole file says of itself tells more than that it is not sealed.
    crate::seal::check(&bytes).at(place)?;
    let (stamp, needed, undefined) = found;
    Ok(Inspected {
        path,
        sha256: hash,
        name: stamp.name,
        version: stamp.version,
        needed,
        sdk: stamp.sdk,
        undefined,
    })
}

/// Fails for what is no file, such as a folder or a pipe, and, before it is read whole, for a file that begins otherwise.
fn begins_as_elf(path: &Path) -> Result<()> {
    let metadata = std::fs::metadata(path).map_err(|e| Error::io("read the plugin", path, e))?;
    if !metadata.is_file() {
        return Err(broken("not a file"));
    }
    let mut begin = vec![];
    std::fs::File::open(path)
        .and_then(|f| f.take(4).read_to_end(&mut begin))
        .map_err(|e| Error::io("read the plugin", path, e))?;
    match begin == elf::ELFMAG {
        true => Ok(()),
        false => Err(broken("not a shared library for Linux (no ELF file)")),
    }
}

/// 64 hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

type Elf<'a> = ElfFile<'a, FileHeader64<Endianness>>;

pub(crate) fn broken(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Plugin, what).help("build the plugin again: ccnf plugin build")
}

/// The file's header and tables; everything that its headers promise must be there, since the system's loader does not look.
pub(crate) fn elf_file(bytes: &[u8]) -> Result<Elf<'_>> {
    if bytes.len() < 64 {
        return Err(broken("the file is cut short"));
    }
    if bytes[4] != elf::ELFCLASS64.0 || bytes[5] != elf::ELFDATA2LSB.0 {
        return Err(broken("a 32-bit or big-endian file; this program is 64-bit and little-endian"));
    }
    let header =
        FileHeader64::<Endianness>::parse(bytes).map_err(|e| broken(format!("not an ELF file: {e}")))?;
    let le = Endianness::Little;
    let machine = header.e_machine(le);
    let own = if cfg!(target_arch = "x86_64") { elf::EM_X86_64 } else { elf::EM_AARCH64 };
    if machine != own {
        let name = match machine {
            elf::EM_X86_64 => "x86-64".to_owned(),
            elf::EM_AARCH64 => "aarch64".to_owned(),
            elf::EM_RISCV => "RISC-V".to_owned(),
            other => format!("machine {}", other.0),
        };
        return Err(broken(format!("built for {name}; this program runs on {}", std::env::consts::ARCH)));
    }
    if header.e_type(le) != elf::ET_DYN {
        return Err(broken("an ELF file, but not a shared library")
            .help("a plugin is a cdylib: [lib] crate-type = [\"cdylib\", \"rlib\"]"));
    }
    let cut = |e: object::Error| broken(format!("the file is cut short or damaged: {e}"));
    let segments = header.program_headers(le, bytes).map_err(cut)?;
    let sections = header.sections(le, bytes).map_err(cut)?;
    let end = |offset: u64, size: u64| offset.saturating_add(size);
    let of_segments = segments.iter().map(|s| end(s.p_offset.get(le), s.p_filesz.get(le)));
    let of_sections = sections
        .iter()
        .filter(|s| s.sh_type.get(le) != elf::SHT_NOBITS)
        .map(|s| end(s.sh_offset.get(le), s.sh_size.get(le)));
    let promised = of_segments.chain(of_sections).max().unwrap_or(0);
    if promised > bytes.len() as u64 {
        return Err(broken(format!("the file is cut short: {} of {promised} bytes", bytes.len())));
    }
    Elf::parse(bytes).map_err(cut)
}

/// Stamp, needed libraries, Rust symbols from elsewhere.
fn facts(elf: &Elf<'_>) -> Result<(stamp::Stamp, Vec<String>, Vec<String>)> {
    let section = elf.section_by_name(abi::SECTION).ok_or_else(|| {
        Error::new(
            ErrorKind::Plugin,
            format!("a shared library, but no plugin of ccnf: it has no section `{}`", abi::SECTION),
        )
        .help("a plugin's lib.rs says ccnf::plugin!(); and is built by ccnf plugin build")
    })?;
    let data = section.data().map_err(|e| broken(format!("its stamp cannot be read: {e}")))?;
    let stamp = stamp::check(data)?;
    let (needed, undefined) = tables(elf).map_err(|e| broken(format!("its tables cannot be read: {e}")))?;
    if !needed.iter().any(|n| n.starts_with(CORE)) {
        let found = format!(
            "`{}` {} does not use the shared core, {CORE}.so: it carries its own copy, or has no component",
            stamp.name, stamp.version
        );
        return Err(Error::new(ErrorKind::Plugin, found).help(
            "its Cargo.toml must not name ccnf as a dependency, and lib.rs must name the files of its components (`mod NAME;`); build it with ccnf plugin build",
        ));
    }
    if stamp.sdk.is_empty() {
        let found = format!("`{}` {} was not built against an SDK", stamp.name, stamp.version);
        return Err(Error::new(ErrorKind::Plugin, found).help("build it with ccnf plugin build"));
    }
    Ok((stamp, needed, undefined))
}

fn tables(elf: &Elf<'_>) -> object::Result<(Vec<String>, Vec<String>)> {
    let (le, data) = (elf.endian(), elf.data());
    let sections = elf.elf_section_table();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut needed = vec![];
    if let Some((entries, strings)) = sections.dynamic(le, data)? {
        let strings = sections.strings(le, data, strings)?;
        for entry in entries.iter().filter(|d| d.tag(le) == elf::DT_NEEDED) {
            needed.push(text(entry.string(le, strings)?));
        }
    }
    let symbols = sections.symbols(le, data, elf::SHT_DYNSYM)?;
    let mut undefined = vec![];
    for symbol in symbols.iter().filter(|s| s.is_undefined(le) && s.st_bind() != elf::STB_WEAK) {
        let name = text(symbol.name(le, symbols.strings())?);
        if name.starts_with("_ZN") || name.starts_with("_R") {
            undefined.push(name);
        }
    }
    Ok((needed, undefined))
}
