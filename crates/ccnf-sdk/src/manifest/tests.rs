use super::*;
use std::process::Command;

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (file, text) in files {
        let file = folder.join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
}

/// A crate without dependencies.
fn empty(name: &str) -> String {
    format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n")
}

/// Writes the manifest of the plugin in `folder` to a folder of its own, with an empty crate as `ccnf`; cargo must compile it.
fn linked(folder: &Path) -> Table {
    let manifest = Manifest::read(folder).unwrap();
    let out = tempfile::tempdir().unwrap();
    let ccnf = out.path().join("ccnf");
    let root = empty("program")
        + "[workspace]\n[dependencies]\nthe-plugin = { package = \""
        + &manifest.name
        + "\", path = \"p\" }\n";
    let text = manifest.linked(&ccnf);
    write(
        out.path(),
        &[
            ("ccnf/Cargo.toml", &empty("ccnf")),
            ("ccnf/src/lib.rs", ""),
            ("p/Cargo.toml", &text),
            ("Cargo.toml", &root),
            ("src/main.rs", "use the_plugin as _;\nfn main() {}\n"),
        ],
    );
    let mut cargo = Command::new(crate::cargo::program());
    cargo.args(["check", "--offline", "--quiet"]).current_dir(out.path());
    let done = cargo.env("CARGO_TARGET_DIR", out.path().join("target")).output().unwrap();
    assert!(done.status.success(), "{text}\n{}", String::from_utf8_lossy(&done.stderr));
    text.parse().unwrap()
}

#[test]
fn a_linked_crate_has_the_same_sources_and_the_dependency() {
    let folder = tempfile::tempdir().unwrap();
    let text = empty("mine")
        + "[lib]\nname = \"other_name\"\ncrate-type = [\"cdylib\", \"rlib\"]\n[features]\nextra = []\n\
           [dependencies]\nown = { path = \"own\" }\n[dev-dependencies]\nabsent = { path = \"absent\" }\n\
           [[bin]]\nname = \"tool\"\npath = \"tool.rs\"\n[workspace]\n";
    // cargo reads the manifests of dev-dependencies only when it resolves.
    write(
        folder.path(),
        &[
            ("Cargo.toml", &text),
            ("src/lib.rs", "use ccnf as _;\nuse own as _;\n"),
            ("tool.rs", "fn main() {}\n"),
            ("own/Cargo.toml", &empty("own")),
            ("own/src/lib.rs", ""),
            ("absent/Cargo.toml", &empty("absent")),
            ("absent/src/lib.rs", ""),
        ],
    );
    let linked = linked(folder.path());
    let folder = std::fs::canonicalize(folder.path()).unwrap();
    assert_eq!(linked["lib"]["name"].as_str(), Some("other_name"));
    assert_eq!(linked["lib"]["path"].as_str().unwrap(), folder.join("src/lib.rs").display().to_string());
    assert_eq!(linked["lib"]["crate-type"].as_array().unwrap().len(), 1);
    assert_eq!(linked["lib"]["crate-type"].as_array().unwrap()[0].as_str(), Some("rlib"));
    assert_eq!(
        linked["dependencies"]["own"]["path"].as_str().unwrap(),
        folder.join("own").display().to_string()
    );
    assert_eq!(linked["features"]["extra"].as_array().map(Vec::len), Some(0));
    for left_out in ["workspace", "dev-dependencies", "bin"] {
        assert!(!linked.contains_key(left_out), "{left_out}");
    }
}

#[test]
fn a_member_of_a_workspace_inherits_nothing_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let root = "[workspace]\nmembers = [\"mine\", \"helper\"]\nresolver = \"3\"\n\
                [workspace.package]\nversion = \"0.4.2\"\nedition = \"2024\"\nauthors = [\"A\"]\nrust-version = \"1.85\"\n\
                [workspace.dependencies]\nhelper = { path = \"helper\", features = [\"a\"], default-features = false }\n\
                [workspace.lints.rust]\nunused_must_use = \"deny\"\n";
    let mine = "[package]\nname = \"mine\"\nversion.workspace = true\nedition.workspace = true\nauthors.workspace = true\n\
                rust-version.workspace = true\n[lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n\
                [dependencies]\nhelper = { workspace = true, features = [\"b\"] }\n[lints]\nworkspace = true\n";
    write(
        folder.path(),
        &[
            ("Cargo.toml", root),
            ("mine/Cargo.toml", mine),
            ("mine/src/lib.rs", "use ccnf as _;\npub const TWO: u8 = helper::A + helper::B;\n"),
            ("helper/Cargo.toml", &(empty("helper") + "[features]\na = []\nb = []\n")),
            (
                "helper/src/lib.rs",
                "#[cfg(feature = \"a\")]\npub const A: u8 = 1;\n#[cfg(feature = \"b\")]\npub const B: u8 = 1;\n",
            ),
        ],
    );
    let linked = linked(&folder.path().join("mine"));
    let folder = std::fs::canonicalize(folder.path()).unwrap();
    assert_eq!(linked["package"]["version"].as_str(), Some("0.4.2"));
    assert_eq!(linked["package"]["edition"].as_str(), Some("2024"));
    assert_eq!(linked["package"]["rust-version"].as_str(), Some("1.85"));
    assert_eq!(linked["package"]["authors"].as_array().unwrap()[0].as_str(), Some("A"));
    assert_eq!(linked["lints"]["rust"]["unused_must_use"].as_str(), Some("deny"));
    let helper = &linked["dependencies"]["helper"];
    assert_eq!(helper["path"].as_str().unwrap(), folder.join("helper").display().to_string());
    assert_eq!(helper["features"].as_array().map(Vec::len), Some(2));
    assert_eq!(helper["default-features"].as_bool(), Some(false));
    assert!(helper.get("workspace").is_none());
}

#[test]
fn dependencies_of_targets_and_of_build_scripts_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let text = empty("mine")
        + "[lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n[build-dependencies]\nmaker = { path = \"maker\" }\n\
           [target.'cfg(not(any()))'.dependencies]\nfound = { path = \"found\" }\n\
           [target.'cfg(not(any()))'.dev-dependencies]\nfound2 = { path = \"found\", package = \"found\" }\n[workspace]\n";
    write(
        folder.path(),
        &[
            ("Cargo.toml", &text),
            ("src/lib.rs", "use {ccnf as _, found as _};\npub const MADE: &str = env!(\"MADE\");\n"),
            ("build.rs", "fn main() {\n    println!(\"cargo::rustc-env=MADE={}\", maker::MADE);\n}\n"),
            ("found/Cargo.toml", &empty("found")),
            ("found/src/lib.rs", ""),
            ("maker/Cargo.toml", &empty("maker")),
            ("maker/src/lib.rs", "pub const MADE: &str = \"made\";\n"),
        ],
    );
    let linked = linked(folder.path());
    let folder = std::fs::canonicalize(folder.path()).unwrap();
    let of_target = linked["target"]["cfg(not(any()))"].as_table().unwrap();
    assert_eq!(
        of_target["dependencies"]["found"]["path"].as_str().unwrap(),
        folder.join("found").display().to_string()
    );
    assert!(!of_target.contains_key("dev-dependencies"));
    assert_eq!(
        linked["build-dependencies"]["maker"]["path"].as_str().unwrap(),
        folder.join("maker").display().to_string()
    );
    assert_eq!(linked["package"]["build"].as_str().unwrap(), folder.join("build.rs").display().to_string());
}

#[test]
fn a_folder_without_a_plugins_crate_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let fails = || Manifest::read(folder.path()).unwrap_err();
    assert!(fails().to_string().contains("Cargo.toml"));
    for (text, why) in [
        ("[package".to_owned(), "Cargo.toml"),
        ("[workspace]\n".to_owned(), "no package.name"),
        (empty("mine") + "[lib]\npath = 1\n", "cargo cannot read it"),
        (empty("mine") + "[workspace]\n", "no library"),
    ] {
        write(folder.path(), &[("Cargo.toml", &text), ("src/main.rs", "fn main() {}\n")]);
        let error = fails();
        assert_eq!(error.kind(), ErrorKind::Plugin);
        assert!(error.to_string().contains(why), "{error}");
    }
}
