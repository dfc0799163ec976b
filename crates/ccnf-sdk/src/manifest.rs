//! The Cargo.toml of a plugin.

use crate::cargo::metadata;
use ccnf_core::{Error, ErrorKind, Result, read_file};
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// What a bundle needs to know of a plugin's crate.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    table: Table,
    /// What cargo makes of `table`.
    package: Json,
    /// The folder of the workspace, and what its Cargo.toml gives to the members.
    root: PathBuf,
    inherited: Table,
}

/// Keys of [package] that a build reads: their names for cargo metadata and in a Cargo.toml.
const KEYS: [(&str, &str); 10] = [
    ("name", "name"),
    ("version", "version"),
    ("edition", "edition"),
    ("rust_version", "rust-version"),
    ("links", "links"),
    ("description", "description"),
    ("license", "license"),
    ("homepage", "homepage"),
    ("repository", "repository"),
    ("authors", "authors"),
];

impl Manifest {
    pub(crate) fn read(folder: &Path) -> Result<Manifest> {
        let file = folder.join("Cargo.toml");
        let bad = |what: &str| Error::new(ErrorKind::Plugin, format!("`{}`: {what}", file.display()));
        let table = parsed(&file)?;
        let name = table.get("package").and_then(|p| p.get("name")).and_then(Value::as_str);
        let name = name.ok_or_else(|| bad("it has no package.name"))?.to_owned();
        let known =
            metadata(folder).map_err(|_| bad("cargo cannot read it").help("what cargo says stands above"))?;
        let path = |value: &Json| PathBuf::from(value.as_str().unwrap_or_default());
        let same = |p: &&Json| {
            let (a, b) = (std::fs::canonicalize(path(&p["manifest_path"])), std::fs::canonicalize(&file));
            matches!((a, b), (Ok(a), Ok(b)) if a == b)
        };
        let package = known["packages"].as_array().and_then(|p| p.iter().find(same)).cloned();
        let package = package.ok_or_else(|| bad("cargo does not know its package"))?;
        if target(&package, is_library).is_none() {
            return Err(bad("it has no library").help("a plugin's source is src/lib.rs"));
        }
        let mut folder = path(&package["manifest_path"]);
        folder.pop();
        let root = path(&known["workspace_root"]);
        let workspace = parsed(&root.join("Cargo.toml"))?.remove("workspace");
        let inherited = workspace.and_then(|w| w.as_table().cloned()).unwrap_or_default();
        Ok(Manifest { name, folder, table, package, root, inherited })
    }

    /// A Cargo.toml for the same sources as a crate that names its dependency on ccnf, to be linked statically. It inherits nothing, and its paths
    /// are absolute.
    pub(crate) fn linked(&self, ccnf: &Path) -> String {
        let mut table = Table::from_iter([("package".to_owned(), self.package().into())]);
        if let Some(library) = target(&self.package, is_library) {
            let mut lib = Table::from_iter([("crate-type".to_owned(), vec!["rlib"].into())]);
            lib.insert("name".into(), library["name"].as_str().unwrap_or_default().replace('-', "_").into());
            lib.insert("path".into(), library["src_path"].as_str().unwrap_or_default().into());
            table.insert("lib".into(), lib.into());
        }
        if let Some(features) = self.table.get("features") {
            table.insert("features".into(), features.clone());
        }
        let lints = match self.table.get("lints") {
            Some(own) if inherits(own) => self.inherited.get("lints"),
            own => own,
        };
        if let Some(lints) = lints {
            table.insert("lints".into(), lints.clone());
        }
        self.dependencies(&self.table, &mut table);
        if let Some(Value::Table(targets)) = self.table.get("target") {
            let mut written = Table::new();
            for (of, tables) in targets.iter().filter_map(|(of, t)| Some((of, t.as_table()?))) {
                let mut of_target = Table::new();
                self.dependencies(tables, &mut of_target);
                written.insert(of.clone(), of_target.into());
            }
            table.insert("target".into(), written.into());
        }
        let dependencies = table.entry("dependencies").or_insert_with(|| Table::new().into());
        if let Value::Table(dependencies) = dependencies {
            let own = Table::from_iter([("path".to_owned(), Value::from(ccnf.display().to_string()))]);
            dependencies.insert("ccnf".into(), own.into());
        }
        table.to_string()
    }

    /// [package], of which nothing is found by what lies in the folder.
    fn package(&self) -> Table {
        let mut package = Table::from_iter([("publish".to_owned(), false.into())]);
        for (known, key) in KEYS {
            if let Some(value) =
                Value::try_from(&self.package[known]).ok().filter(|_| !self.package[known].is_null())
            {
                package.insert(key.into(), value);
            }
        }
        for found in ["autobins", "autoexamples", "autotests", "autobenches"] {
            package.insert(found.into(), false.into());
        }
        let script =
            target(&self.package, |kind| kind == "custom-build").and_then(|t| t["src_path"].as_str());
        package.insert("build".into(), script.map_or(false.into(), Value::from));
        package
    }

    /// The dependencies of `from`, those for tests left out.
    fn dependencies(&self, from: &Table, into: &mut Table) {
        for key in ["dependencies", "build-dependencies"] {
            // The older spelling has `_`.
            let found = from.get(key).or_else(|| from.get(&key.replace('-', "_")));
            if let Some(Value::Table(found)) = found {
                let resolved: Table =
                    found.iter().map(|(name, d)| (name.clone(), self.dependency(name, d))).collect();
                into.insert(key.into(), resolved.into());
            }
        }
    }

    fn dependency(&self, name: &str, own: &Value) -> Value {
        if !inherits(own) {
            return absolute(own.clone(), &self.folder);
        }
        let of_all = self.inherited.get("dependencies").and_then(|d| d.get(name)).cloned();
        let mut table = match of_all.map(|d| absolute(d, &self.root)) {
            Some(Value::Table(table)) => table,
            Some(version) => Table::from_iter([("version".to_owned(), version)]),
            None => Table::new(),
        };
        for (key, value) in own.as_table().into_iter().flatten().filter(|(key, _)| *key != "workspace") {
            match (table.get_mut(key), value) {
                (Some(Value::Array(all)), Value::Array(more)) => all.extend(more.iter().cloned()),
                // A member can take what the workspace leaves out, and not leave out what it takes.
                (_, Value::Boolean(false)) if key.starts_with("default") => {}
                _ => drop(table.insert(key.clone(), value.clone())),
            }
        }
        table.into()
    }
}

/// A dependency with its path seen from `folder`.
fn absolute(mut dependency: Value, folder: &Path) -> Value {
    if let Some(Value::String(path)) = dependency.get_mut("path") {
        *path = folder.join(&*path).display().to_string();
    }
    dependency
}

fn inherits(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

/// The first target with a kind like this.
fn target(package: &Json, kind: impl Fn(&str) -> bool) -> Option<&Json> {
    let of = |t: &&Json| t["kind"].as_array().is_some_and(|k| k.iter().filter_map(Json::as_str).any(&kind));
    package["targets"].as_array()?.iter().find(of)
}

fn is_library(kind: &str) -> bool {
    ["lib", "rlib", "cdylib", "dylib", "staticlib"].contains(&kind)
}

fn parsed(file: &Path) -> Result<Table> {
    let text = String::from_utf8_lossy(&read_file(file)?).into_owned();
    text.parse().map_err(|e: toml::de::Error| {
        Error::new(ErrorKind::Plugin, format!("`{}`: {}", file.display(), e.message()))
    })
}

#[cfg(test)]
mod tests;
