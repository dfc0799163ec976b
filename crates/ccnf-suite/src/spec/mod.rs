//! What a suite file says: which models meet which protocols, in which class orders, with which seeds.

mod check;

use ccnf_core::schemars::{JsonSchema, schema_for};
use ccnf_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A suite: a grid of models x protocols x class orders x seeds.
///
/// ```toml
/// name = "mine"
/// seeds = [7, 8, 9]
///
/// [config]                          # keys of every run, over those of its model
/// dataset = { kind = "mvtec", path = "data/mvtec" }
///
/// [[models]]
/// model = "ccnf-best"               # a built-in config, `ccnf list models`
///
/// [[models]]
/// name = "small-rows"               # the row's name in the tables
/// config = "models/mine.toml"       # relative to the suite's file
/// set = { "detector.conditioner.width" = 16 }
///
/// [[protocols]]
/// name = "3x5"
/// preset = "mvtec-3x5"
/// orders = [0, 1]                   # as written, and once shuffled
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuiteSpec {
    /// The suite's name: a folder belongs to the suite of one name.
    pub name: String,
    /// What the suite asks, for the report.
    #[serde(default)]
    pub about: String,
    /// The seeds.
    #[serde(default = "one_seed")]
    pub seeds: Vec<u64>,
    /// Threads of one run. Part of the suite and not of the machine, since sums over another number of threads differ in their last bits.
    #[serde(default = "one")]
    pub threads: usize,
    /// Configuration keys of every run, over those of its model.
    #[serde(default)]
    #[schemars(with = "serde_json::Value")]
    pub config: toml::Table,
    /// The models.
    #[serde(default)]
    pub models: Vec<ModelSpec>,
    /// The protocols; none: that of the configuration.
    #[serde(default)]
    pub protocols: Vec<ProtocolSpec>,
}

fn one() -> usize {
    1
}

fn one_seed() -> Vec<u64> {
    vec![7]
}

fn yes() -> bool {
    true
}

/// A row of the tables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// The row's name; left out: the built-in model's, or the file's.
    #[serde(default)]
    pub name: String,
    /// A built-in model config (`ccnf list models`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// A model config of your own, relative to the suite's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<PathBuf>,
    /// Keys over those of the config: nested tables, or dotted keys in quotes.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    #[schemars(with = "serde_json::Value")]
    pub set: toml::Table,
    /// Whether the seed enters. If not, one run stands for all seeds.
    #[serde(default = "yes")]
    pub seeded: bool,
    /// Gives a replay buffer the bytes that another model of the suite adds for its classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equal_memory: Option<EqualMemory>,
}

/// Which memory a model is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EqualMemory {
    /// The name of the row whose class-private bytes after the last task are the measure.
    pub to: String,
    /// The key that takes the number of bytes.
    #[serde(default = "strategy_bytes")]
    pub key: String,
}

fn strategy_bytes() -> String {
    "strategy.bytes".into()
}

/// A protocol in one or more class orders.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProtocolSpec {
    /// Its name in the tables.
    pub name: String,
    /// A built-in protocol (`ccnf list protocols`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// The classes of every task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Vec<Vec<String>>>,
    /// Training images of a later class, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub later_images: Option<usize>,
    /// Class orders: 0 is the order as written; any other number is the seed of a shuffle of all classes, tasks keeping their sizes.
    #[serde(default = "as_written")]
    pub orders: Vec<u64>,
    /// Only these models; left out: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// Other seeds than the suite's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seeds: Option<Vec<u64>>,
}

fn as_written() -> Vec<u64> {
    vec![0]
}

impl SuiteSpec {
    /// Reads and checks a suite's text; `name` is what messages call it.
    pub fn parse(text: &str, name: &str) -> Result<SuiteSpec> {
        let mut spec: SuiteSpec = toml::from_str(text).map_err(|e| {
            Error::new(
                ErrorKind::Config,
                format!("the suite `{name}` cannot be read: {}", e.to_string().trim()),
            )
            .help("`ccnf schema suite` shows its keys")
        })?;
        for model in &mut spec.models {
            model.name = model.row_name(name)?;
        }
        spec.check().map_err(|e| e.at(format!("suite `{name}`")))?;
        Ok(spec)
    }

    /// Reads a suite's file.
    pub fn read(path: &Path) -> Result<SuiteSpec> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("read the suite", path, e))?;
        SuiteSpec::parse(&text, &path.display().to_string())
    }
}

impl ModelSpec {
    fn row_name(&self, suite: &str) -> Result<String> {
        let place = |e: Error| e.at(format!("suite `{suite}`"));
        match (&self.model, &self.config) {
            (Some(_), Some(_)) => Err(place(Error::new(
                ErrorKind::Config,
                "key `models`: give either `model` or `config`, not both",
            ))),
            (None, None) => Err(place(
                Error::new(
                    ErrorKind::Config,
                    format!("key `models`: the model `{}` has no config", self.name),
                )
                .help("model = \"NAME\" takes a built-in one, config = \"FILE.toml\" one of your own"),
            )),
            _ if !self.name.is_empty() => Ok(self.name.clone()),
            (Some(model), None) => Ok(model.clone()),
            (None, Some(file)) => Ok(file.file_stem().unwrap_or_default().to_string_lossy().into_owned()),
        }
    }
}

/// The JSON schema of a suite's file.
pub fn suite_schema() -> serde_json::Value {
    schema_for!(SuiteSpec).to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_named_after_what_they_run() {
        let text = "name = \"s\"\n[[models]]\nmodel = \"ccnf\"\n[[models]]\nconfig = \"a/mine.toml\"\n[[models]]\nname = \"x\"\nmodel = \"ccnf\"";
        let spec = SuiteSpec::parse(text, "test").unwrap();
        assert_eq!(spec.models.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["ccnf", "mine", "x"]);
        assert_eq!((spec.seeds, spec.threads), (vec![7], 1));
    }

    #[test]
    fn the_suites_of_the_project_parse_and_name_built_in_models() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/suites");
        let files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
        assert!(files.len() >= 2, "{files:?}");
        let mut unused: Vec<&str> = crate::models().iter().map(|(name, _)| *name).collect();
        for file in files {
            let spec = SuiteSpec::read(&file).unwrap();
            for model in spec.models.iter().filter_map(|m| m.model.as_deref()) {
                crate::model(model).unwrap();
                unused.retain(|name| *name != model);
            }
        }
        assert_eq!(unused, ["hgad-pyramid"], "models that no suite runs; this one takes days");
    }
}
