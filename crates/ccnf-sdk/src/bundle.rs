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
    if !Manifest::read(&options.out).is_ok_and(|m| m.name == NAME) {
        check_empty(&options.out)?;
    }
    let plugins = options.plugins.iter().map(|p| Manifest::read(p)).collect::<Result<Vec<_>>>()?;
    let twice = plugins.iter().enumerate().find(|(i, p)| plugins[..*i].iter().any(|q| q.name == p.name));
    if let Some((_, plugin)) = twice {
        return Err(Error::new(ErrorKind::Usage, format!("two of the plugins are called `{}`", plugin.name))
            .help("rename one: package.name in its Cargo.toml"));
    }
    let out = &options.out;
    let mut main = String::from("//! The program `ccnf` with plugins linked in.\n\n");
    for plugin in &plugins {
        let manifest = plugin.linked(&source.join("crates/ccnf"));
        write_atomic(&out.join("plugins").join(&plugin.name).join("Cargo.toml"), manifest.as_bytes())?;
        main += &format!("use {} as _;\n", plugin.name.replace('-', "_"));
    }
    main += "\nfn main() -> std::process::ExitCode {\n    ccnf_cli::main()\n}\n";
    write_atomic(&out.join("src/main.rs"), main.as_bytes())?;
    write_atomic(&out.join("Cargo.toml"), manifest(&plugins, &source, options)?.as_bytes())?;
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

/// The program's Cargo.toml, with the build profile of the sources.
fn manifest(plugins: &[Manifest], source: &Path, options: &Bundle) -> Result<String> {
    let of = |path: &Path| Table::from_iter([("path".to_owned(), Value::from(path.display().to_string()))]);
    let mut cli = of(&source.join("crates/ccnf-cli"));
    if !options.features.is_empty() {
        cli.insert("features".into(), options.features.clone().into());
    }
    let mut dependencies = Table::from_iter([("ccnf-cli".to_owned(), cli.into())]);
    for plugin in plugins {
        dependencies.insert(plugin.name.clone(), of(&Path::new("plugins").join(&plugin.name)).into());
    }
    let parsed = |text: &str| -> Result<Table> {
        text.parse().map_err(|e: toml::de::Error| Error::new(ErrorKind::Plugin, e.to_string()))
    };
    let mut table = parsed(&format!(
        "[package]\nname = \"{NAME}\"\nversion = \"0.1.0\"\nedition = \"2024\"\npublish = false\n\
         [[bin]]\nname = \"ccnf\"\npath = \"src/main.rs\"\n[workspace]\nmembers = [\"plugins/*\"]\n"
    ))?;
    table.insert("dependencies".into(), dependencies.into());
    let root = parsed(&String::from_utf8_lossy(&read_file(&source.join("Cargo.toml"))?))?;
    let used = if options.release { "release" } else { "dev" };
    if let Some(profile) = root.get("profile").and_then(|p| p.get(used)) {
        table.insert("profile".into(), Table::from_iter([(used.to_owned(), profile.clone())]).into());
    }
    Ok(table.to_string())
}
