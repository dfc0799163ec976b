//! The Cargo.toml of a plugin.

use ccnf_core::{Error, ErrorKind, Result, read_file};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// What a bundle needs to know of a plugin's crate.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) name: String,
    folder: PathBuf,
    table: Table,
}

impl Manifest {
    pub(crate) fn read(folder: &Path) -> Result<Manifest> {
        let folder = std::fs::canonicalize(folder).map_err(|e| Error::io("open the plugin", folder, e))?;
        let file = folder.join("Cargo.toml");
        let bad = |what: String| Error::new(ErrorKind::Plugin, format!("`{}`: {what}", file.display()));
        let text = String::from_utf8_lossy(&read_file(&file)?).into_owned();
        let table: Table = text.parse().map_err(|e: toml::de::Error| bad(e.message().to_owned()))?;
        let name = table.get("package").and_then(|p| p.get("name")).and_then(Value::as_str);
        let name = name.ok_or_else(|| bad("it has no package.name".into()))?.to_owned();
        Ok(Manifest { name, folder, table })
    }

    /// A Cargo.toml for the same sources as a crate that names its dependency on ccnf, to be linked statically.
    pub(crate) fn linked(&self, ccnf: &Path) -> String {
        let mut table = self.table.clone();
        table.remove("workspace");
        table.remove("dev-dependencies");
        if let Some(Value::Table(package)) = table.get_mut("package") {
            package.insert("publish".into(), false.into());
            if self.folder.join("build.rs").exists() {
                package.entry("build").or_insert("build.rs".into());
            }
            if let Some(Value::String(build)) = package.get_mut("build") {
                *build = self.absolute(build);
            }
        }
        let lib = table.entry("lib").or_insert_with(|| Table::new().into());
        if let Value::Table(lib) = lib {
            let path = lib.get("path").and_then(Value::as_str).unwrap_or("src/lib.rs").to_owned();
            lib.insert("path".into(), self.absolute(&path).into());
            lib.insert("crate-type".into(), vec!["rlib"].into());
        }
        let dependencies = table.entry("dependencies").or_insert_with(|| Table::new().into());
        if let Value::Table(dependencies) = dependencies {
            for dependency in dependencies.iter_mut().map(|(_, d)| d) {
                if let Some(Value::String(path)) = dependency.get_mut("path") {
                    *path = self.absolute(path);
                }
            }
            let own = Table::from_iter([("path".to_owned(), Value::from(ccnf.display().to_string()))]);
            dependencies.insert("ccnf".into(), own.into());
        }
        table.to_string()
    }

    fn absolute(&self, path: &str) -> String {
        self.folder.join(path).display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linked_crate_has_the_same_sources_and_the_dependency() {
        let folder = tempfile::tempdir().unwrap();
        let text = "[package]\nname = \"mine\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n\
                    [dependencies]\nitoa = \"1\"\nown = { path = \"../own\" }\n[workspace]\n";
        std::fs::write(folder.path().join("Cargo.toml"), text).unwrap();
        let manifest = Manifest::read(folder.path()).unwrap();
        let linked: Table = manifest.linked(Path::new("/sources/crates/ccnf")).parse().unwrap();
        let folder = std::fs::canonicalize(folder.path()).unwrap();
        assert_eq!(manifest.name, "mine");
        assert_eq!(linked["lib"]["path"].as_str().unwrap(), folder.join("src/lib.rs").display().to_string());
        assert_eq!(linked["lib"]["crate-type"].as_array().unwrap()[0].as_str(), Some("rlib"));
        assert_eq!(linked["dependencies"]["ccnf"]["path"].as_str(), Some("/sources/crates/ccnf"));
        assert_eq!(
            linked["dependencies"]["own"]["path"].as_str().unwrap(),
            folder.join("../own").display().to_string()
        );
        assert_eq!(linked["dependencies"]["itoa"].as_str(), Some("1"));
        assert!(!linked.contains_key("workspace"));
    }

    #[test]
    fn a_folder_without_a_crate_says_so() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Manifest::read(folder.path()).unwrap_err().to_string().contains("Cargo.toml"));
        std::fs::write(folder.path().join("Cargo.toml"), "[package").unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap_err().kind(), ErrorKind::Plugin);
    }
}
