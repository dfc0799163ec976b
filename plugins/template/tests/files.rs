//! What the files of the plugin promise to whoever copies one of them.

use std::path::Path;

/// Name and text of the file of every kind.
fn files() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = vec![];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if name != "lib" {
            all.push((name, std::fs::read_to_string(path).unwrap()));
        }
    }
    assert_eq!(all.len(), 10);
    all
}

#[test]
fn a_complete_coupling_has_at_most_80_lines() {
    let coupling = files().into_iter().find(|(name, _)| name == "coupling").unwrap().1;
    assert!(coupling.lines().count() <= 80, "{} lines", coupling.lines().count());
}

#[test]
fn every_file_needs_the_crate_ccnf_alone() {
    for (name, text) in files() {
        for line in text.lines().map(str::trim_start).filter(|l| l.starts_with("use ")) {
            let known =
                ["use ccnf::", "use std::", "use super::*;"].iter().any(|start| line.starts_with(start));
            assert!(known, "{name}.rs: {line}");
        }
        assert!(!text.contains("crate::"), "{name}.rs looks into another file");
    }
}

#[test]
fn the_plugins_name_stands_where_names_stand_and_nowhere_else() {
    for (name, text) in files() {
        let ours = [format!("template-{name}"), "Template".into()];
        let left = ours.iter().fold(text.clone(), |text, own| text.replace(own.as_str(), ""));
        assert!(!left.to_lowercase().contains("template"), "{name}.rs");
        assert!(text.contains(&format!("\"template-{name}\"")), "{name}.rs registers another name");
        assert!(text.contains("ccnf_testkit::conformance!("), "{name}.rs is not tested");
    }
}
