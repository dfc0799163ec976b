//! Which classes come in which task.

use ccnf_core::schemars::JsonSchema;
use ccnf_core::{Error, ErrorKind, Result, Section, did_you_mean};
use serde::{Deserialize, Serialize};

/// The `[protocol]` section: a preset, or tasks, or (left out) every class of the dataset a task of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProtocolConfig {
    /// The name of a preset, such as `realad` or `mvtec-3x5` (`ccnf list protocols`).
    pub preset: Option<String>,
    /// The classes of every task, in order.
    pub tasks: Option<Vec<Vec<String>>>,
    /// Training images of every class of a task after the first, at most; which ones, the seed decides. Left out: all.
    pub later_images: Option<usize>,
}

macro_rules! presets {
    ($($name:literal),* $(,)?) => {
        const PRESETS: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../../configs/protocols/", $name, ".toml")))),*];
    };
}

presets!(
    "realad",
    "mvtec-14-1",
    "mvtec-10-5",
    "mvtec-10-1x5",
    "mvtec-3x5",
    "mvtec-15x1",
    "visa-11-1",
    "visa-8-4",
    "visa-8-1x4",
    "visa-12x1",
);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Preset {
    tasks: Vec<Vec<String>>,
}

/// The built-in protocols: name and tasks.
pub fn presets() -> Vec<(&'static str, Vec<Vec<String>>)> {
    PRESETS
        .iter()
        .filter_map(|(name, text)| toml::from_str::<Preset>(text).ok().map(|p| (*name, p.tasks)))
        .collect()
}

impl ProtocolConfig {
    /// The tasks for a dataset with these classes. Every class must exist and come once.
    pub fn tasks(&self, classes: &[&str], section: &Section) -> Result<Vec<Vec<String>>> {
        if self.later_images == Some(0) {
            return Err(section
                .error("later_images", "must be 1 or more")
                .help("leave it out to use all images"));
        }
        let (tasks, key) = match (&self.preset, &self.tasks) {
            (Some(_), Some(_)) => {
                return Err(section.error("tasks", "give either `preset` or `tasks`, not both"));
            }
            (Some(name), None) => {
                let all = presets();
                let found = all.iter().find(|(n, _)| n == name).map(|(_, t)| t.clone()).ok_or_else(|| {
                    let names: Vec<&str> = all.iter().map(|(n, _)| *n).collect();
                    let hint = did_you_mean(name, names.iter().copied())
                        .map(|g| format!(" (did you mean `{g}`?)"))
                        .unwrap_or_default();
                    section
                        .error("preset", format!("no protocol is called `{name}`{hint}"))
                        .help(format!("presets: {}", names.join(", ")))
                })?;
                (found, "preset")
            }
            (None, Some(t)) => (t.clone(), "tasks"),
            (None, None) => (classes.iter().map(|c| vec![(*c).to_owned()]).collect(), "tasks"),
        };
        if tasks.is_empty() || tasks.iter().any(Vec::is_empty) {
            return Err(
                section.error(key, "a protocol has at least one task and every task at least one class")
            );
        }
        let mut seen: Vec<&str> = Vec::new();
        for class in tasks.iter().flatten() {
            if !classes.contains(&class.as_str()) {
                let hint = did_you_mean(class, classes.iter().copied())
                    .map(|g| format!(" (did you mean `{g}`?)"))
                    .unwrap_or_default();
                let place = section.error(key, "");
                let mut e = Error::new(
                    ErrorKind::Dataset,
                    format!("the dataset has no class `{class}`, which the protocol names{hint}"),
                )
                .help(format!("the dataset's classes: {}", classes.join(", ")));
                for p in place.places() {
                    e = e.at(p.clone());
                }
                return Err(e);
            }
            if seen.contains(&class.as_str()) {
                return Err(section.error(key, format!("the class `{class}` comes twice")));
            }
            seen.push(class);
        }
        Ok(tasks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnf_core::Config;

    fn section() -> Section {
        Config::compose(&[], &[]).unwrap().root().unwrap().child("protocol")
    }

    #[test]
    fn every_preset_parses_and_names_each_class_once() {
        assert_eq!(presets().len(), PRESETS.len());
        for (name, tasks) in presets() {
            let mut all: Vec<&String> = tasks.iter().flatten().collect();
            let n = all.len();
            all.sort();
            all.dedup();
            assert_eq!(all.len(), n, "{name}");
        }
    }

    #[test]
    fn unknown_and_repeated_classes_are_errors() {
        let tasks = |t: &[&[&str]]| ProtocolConfig {
            preset: None,
            later_images: None,
            tasks: Some(t.iter().map(|t| t.iter().map(|c| (*c).to_string()).collect()).collect()),
        };
        let e = tasks(&[&["bolt"], &["nuts"]]).tasks(&["bolt", "nut"], &section()).unwrap_err().to_string();
        assert!(e.contains("`nuts`") && e.contains("did you mean `nut`"), "{e}");
        assert!(tasks(&[&["bolt"], &["bolt"]]).tasks(&["bolt"], &section()).is_err());
        assert!(tasks(&[&[]]).tasks(&["bolt"], &section()).is_err());
        assert_eq!(ProtocolConfig::default().tasks(&["a", "b"], &section()).unwrap(), [["a"], ["b"]]);
    }
}
