//! Programs with plugins linked in, for wherever plugins cannot be loaded at run time.

use crate::cargo::{artifacts, program};
use crate::collect::{check_empty, check_source};
use crate::manifest::Manifest;
use ccnf_core::{Error, ErrorKind, Result, read_file, write_atomic};
use std::path::{Path, PathBuf};
use std::process::Command;
use toml::{Table, Value};

/// The name of the program's crate, by which a folder of an earlier bundle is known.
const NAME: &str = "ccnf-with-plugins";

/// The folder of the plugins' written manifests.
const PLUGINS: &str = "plugins";

/// What is to be linked.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The folders of the plugins' crates.
    pub plugins: Vec<PathBuf>,
    /// The sources of ccnf.
    pub source: PathBuf,
    /// The folder of the program's crate: new, or that of an earlier bundle, which is written anew.
    pub out: PathBuf,
    /// As the compiler optimises.
    pub release: bool,
    /// Features of the program, such as `onnx` or `cuda`.
    pub features: Vec<String>,
}

/// Writes a crate that links the plugins into the program, builds it, and gives the program's file. The plugins' sources stay where they are.
pub fn bundle(options: &Bundle) -> Result<PathBuf> {
    let source = check_source(&options.source)?;
    // The same command after a change of a plugin builds the program anew.
    if !named(&options.out) {
        check_empty(&options.out)?;
    }
    let plugins = options.plugins.iter().map(|p| Manifest::read(p)).collect::<Result<Vec<_>>>()?;
    let twice = plugins.iter().enumerate().find(|(i, p)| plugins[..*i].iter().any(|q| q.name == p.name));
    if let Some((_, plugin)) = twice {
        return Err(Error::new(ErrorKind::Usage, format!("two of the plugins are called `{}`", plugin.name))
            .help("rename one: package.name in its Cargo.toml"));
    }
    let out = &options.out;
    // First: a folder without it is not taken for an earlier bundle.
    write_atomic(&out.join("Cargo.toml"), manifest(&plugins, &source, options)?.as_bytes())?;
    clear(&out.join(PLUGINS))?;
    let mut main = String::from("//! The program `ccnf` with plugins linked in.\n\n");
    for plugin in &plugins {
        let folder = out.join(PLUGINS).join(&plugin.name);
        let manifest = plugin.linked(&source.join("crates/ccnf"));
        write_atomic(&folder.join("Cargo.toml"), manifest.as_bytes())?;
        link_files(&plugin.folder, &folder, out)?;
        main += &format!("use {} as _;\n", dependency(plugin).replace('-', "_"));
    }
    main += "\nfn main() -> std::process::ExitCode {\n    ccnf_cli::main()\n}\n";
    write_atomic(&out.join("src/main.rs"), main.as_bytes())?;
    // The same versions of everything as the program has without them.
    let lock = source.join("Cargo.lock");
    if lock.exists() {
        write_atomic(&out.join("Cargo.lock"), &read_file(&lock)?)?;
    }
    let mut command = Command::new(program());
    command.arg("build").current_dir(out);
    if options.release {
        command.arg("--release");
    }
    let found = artifacts(command, out)?;
    let executable =
        found.iter().filter(|a| a["target"]["name"] == "ccnf").find_map(|a| a["executable"].as_str());
    executable.map(PathBuf::from).ok_or_else(|| Error::new(ErrorKind::Plugin, "the build left no program"))
}

/// Whether a folder is that of an earlier bundle.
fn named(folder: &Path) -> bool {
    let text = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    text.parse::<Table>().is_ok_and(|t| t.get("package").and_then(|p| p.get("name")?.as_str()) == Some(NAME))
}

/// Removes what an earlier bundle wrote of its plugins; links in it are removed, not followed.
fn clear(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove the folder", folder, e)),
        _ => Ok(()),
    }
}

/// The name of the program's dependency on a plugin.
fn dependency(plugin: &Manifest) -> String {
    format!("plugin-{}", plugin.name)
}

/// Links the entries of a plugin's folder into the one of its written manifest, where its sources, macros and build script look for files by
/// `CARGO_MANIFEST_DIR`. Left out: what is written anew, what cargo builds, and a folder that holds `out`.
#[cfg(unix)]
fn link_files(from: &Path, into: &Path, out: &Path) -> Result<()> {
    let out = std::fs::canonicalize(out).map_err(|e| Error::io("open", out, e))?;
    for entry in std::fs::read_dir(from).map_err(|e| Error::io("list", from, e))? {
        let entry = entry.map_err(|e| Error::io("list", from, e))?;
        let (name, file) = (entry.file_name(), entry.path());
        let own = ["Cargo.toml", "Cargo.lock", "target", ".git"].iter().any(|n| name == *n);
        if own || std::fs::canonicalize(&file).is_ok_and(|f| out.starts_with(f)) {
            continue;
        }
        let link = into.join(&name);
        std::os::unix::fs::symlink(&file, &link).map_err(|e| Error::io("link", &link, e))?;
    }
    Ok(())
}

/// Links need a privilege here: files are found relative to sources only.
#[cfg(not(unix))]
fn link_files(_: &Path, _: &Path, _: &Path) -> Result<()> {
    Ok(())
}

/// The program's Cargo.toml, with the build profile of the sources.
fn manifest(plugins: &[Manifest], source: &Path, options: &Bundle) -> Result<String> {
    let of = |path: &Path| Table::from_iter([("path".to_owned(), Value::from(path.display().to_string()))]);
    let mut cli = of(&source.join("crates/ccnf-cli"));
    if !options.features.is_empty() {
        cli.insert("features".into(), options.features.clone().into());
    }
    let mut dependencies = Table::from_iter([("ccnf-cli".to_owned(), cli.into())]);
    for plugin in plugins {
        let mut table = of(&Path::new(PLUGINS).join(&plugin.name));
        // The crate goes by the dependency's name, whatever its [lib] says.
        table.insert("package".into(), plugin.name.clone().into());
        dependencies.insert(dependency(plugin), table.into());
    }
    let parsed = |text: &str| -> Result<Table> {
        text.parse().map_err(|e: toml::de::Error| Error::new(ErrorKind::Plugin, e.to_string()))
    };
    let mut table = parsed(&format!(
        "[package]\nname = \"{NAME}\"\nversion = \"0.1.0\"\nedition = \"2024\"\npublish = false\n\
         [[bin]]\nname = \"ccnf\"\npath = \"src/main.rs\"\n[workspace]\n"
    ))?;
    table.insert("dependencies".into(), dependencies.into());
    let root = parsed(&String::from_utf8_lossy(&read_file(&source.join("Cargo.toml"))?))?;
    let used = if options.release { "release" } else { "dev" };
    if let Some(profile) = root.get("profile").and_then(|p| p.get(used)) {
        table.insert("profile".into(), Table::from_iter([(used.to_owned(), profile.clone())]).into());
    }
    Ok(table.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_names_its_plugins_whatever_lies_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (source, plugin, out) =
            (folder.path().join("source"), folder.path().join("mine"), folder.path().join("out"));
        write_atomic(&source.join("Cargo.toml"), b"[profile.dev]\nopt-level = 1\n").unwrap();
        let text = "[package]\nname = \"my-own\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[lib]\nname = \"other\"\n[workspace]\n";
        write_atomic(&plugin.join("Cargo.toml"), text.as_bytes()).unwrap();
        write_atomic(&plugin.join("src/lib.rs"), b"").unwrap();
        let plugins = [Manifest::read(&plugin).unwrap()];
        let options = Bundle {
            plugins: vec![plugin],
            source: source.clone(),
            out: out.clone(),
            release: false,
            features: vec![],
        };
        let text = manifest(&plugins, &source, &options).unwrap();
        let table: Table = text.parse().unwrap();
        assert_eq!(table["dependencies"]["plugin-my-own"]["package"].as_str(), Some("my-own"));
        assert!(table["workspace"].get("members").is_none());
        assert_eq!(table["profile"]["dev"]["opt-level"].as_integer(), Some(1));
        assert!(!named(&out));
        write_atomic(&out.join("Cargo.toml"), text.as_bytes()).unwrap();
        assert!(named(&out));
    }

    #[cfg(unix)]
    #[test]
    fn a_plugins_files_are_found_where_its_written_manifest_is() {
        let folder = tempfile::tempdir().unwrap();
        let (plugin, out) = (folder.path().join("mine"), folder.path().join("mine/deep/out"));
        for file in ["w.txt", "src/lib.rs", "Cargo.toml", "target/big", "deep/other"] {
            write_atomic(&plugin.join(file), b"1").unwrap();
        }
        let into = out.join(PLUGINS).join("mine");
        std::fs::create_dir_all(&into).unwrap();
        link_files(&plugin, &into, &out).unwrap();
        std::fs::write(plugin.join("w.txt"), "changed").unwrap();
        assert_eq!(std::fs::read_to_string(into.join("w.txt")).unwrap(), "changed");
        let mut found: Vec<_> = std::fs::read_dir(&into).unwrap().flatten().map(|e| e.file_name()).collect();
        found.sort();
        assert_eq!(found, ["src", "w.txt"]);
        clear(&out.join(PLUGINS)).unwrap();
        assert!(!into.exists() && plugin.join("src/lib.rs").exists());
    }
}
