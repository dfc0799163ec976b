//! From a suite to its runs: every cell of the grid gets a resolved configuration and the id that follows from it.

use crate::models::model;
use crate::spec::{EqualMemory, ModelSpec, ProtocolSpec, SuiteSpec};
use ccnf_core::{Config, ConfigFile, Error, ErrorKind, Result, ResultExt};
use ccnf_engine::{Assembly, FinishedRun, Provenance, presets};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A cell of the grid.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cell {
    /// The protocol's name.
    pub protocol: String,
    /// The class order: 0 as written, else the seed of its shuffle.
    pub order: u64,
    /// The model's name.
    pub model: String,
    /// The seed.
    pub seed: u64,
}

impl Cell {
    /// The protocol with its order, as tables call it.
    pub fn column(&self) -> String {
        match self.order {
            0 => self.protocol.clone(),
            order => format!("{}, order {order}", self.protocol),
        }
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on {}, seed {}", self.model, self.column(), self.seed)
    }
}

/// A run that is known down to its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedRun {
    /// The run's id, a hash of what determines it.
    pub id: String,
    /// Where in the grid it stands.
    #[serde(flatten)]
    pub cell: Cell,
    /// What the run will rest on; `data` is known when it has read its images.
    pub provenance: Provenance,
    /// The whole configuration, resolved.
    pub config: serde_json::Value,
}

/// A run whose configuration needs the result of another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaitingRun {
    /// Where in the grid it stands.
    #[serde(flatten)]
    pub cell: Cell,
    /// The row whose runs have to finish first.
    pub waits_for: String,
}

/// All runs of a suite, first seeds first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Runs that can start.
    pub runs: Vec<PlannedRun>,
    /// Runs that wait for others.
    pub waiting: Vec<WaitingRun>,
}

/// Bytes with which a run that waits for its number is tried: room for anything.
const TRIAL_BYTES: u64 = 1 << 40;

/// What a plan is made from.
pub struct Planner<'a> {
    /// The suite.
    pub spec: &'a SuiteSpec,
    /// Where the suite's file lies: relative model configs start there.
    pub base: &'a Path,
    /// `key=value` over everything else.
    pub sets: &'a [String],
    /// Where finished runs are looked for: those that others wait for.
    pub runs: &'a Path,
}

impl Planner<'_> {
    /// The plan as far as it is known now; once the runs that others wait for have finished, it is made again.
    pub fn plan(&self) -> Result<Plan> {
        let default = [ProtocolSpec {
            name: "protocol".into(),
            preset: None,
            tasks: None,
            later_images: None,
            orders: vec![0],
            models: None,
            seeds: None,
        }];
        let protocols = if self.spec.protocols.is_empty() { &default[..] } else { &self.spec.protocols };
        let seeds = |p: &ProtocolSpec| p.seeds.clone().unwrap_or_else(|| self.spec.seeds.clone());
        let most = protocols.iter().map(|p| seeds(p).len()).max().unwrap_or(0);
        let mut plan = Plan::default();
        for i in 0..most {
            for p in protocols {
                let Some(seed) = seeds(p).get(i).copied() else { continue };
                for &order in &p.orders {
                    let wanted =
                        |m: &&ModelSpec| p.models.as_ref().is_none_or(|names| names.contains(&m.name));
                    for m in self.spec.models.iter().filter(wanted).filter(|m| i == 0 || m.seeded) {
                        let cell = Cell { protocol: p.name.clone(), order, model: m.name.clone(), seed };
                        self.add(&mut plan, cell, p, m)?;
                    }
                }
            }
        }
        Ok(plan)
    }

    fn add(&self, plan: &mut Plan, cell: Cell, p: &ProtocolSpec, m: &ModelSpec) -> Result<()> {
        let place = || format!("run `{cell}` of the suite `{}`", self.spec.name);
        let memory = match &m.equal_memory {
            None => None,
            Some(e) => match self.bytes_of(plan, &cell, e)? {
                Some(bytes) => Some(format!("{} = {bytes}", e.key)),
                None => {
                    if p.models.as_ref().is_some_and(|names| !names.contains(&e.to)) {
                        let found = format!(
                            "key `models.equal_memory.to`: protocol `{}` does not run `{}`",
                            p.name, e.to
                        );
                        return Err(Error::new(ErrorKind::Config, found).at(place()));
                    }
                    // What is wrong with the key is known now, and not after the other model's hours.
                    let tasks = self.tasks(&cell, p, m).at(place)?;
                    let trial =
                        self.config(&cell, p, m, tasks.as_ref(), Some(format!("{} = {TRIAL_BYTES}", e.key)));
                    Assembly::new(&trial.at(place)?).at(place)?;
                    plan.waiting.push(WaitingRun { cell, waits_for: e.to.clone() });
                    return Ok(());
                }
            },
        };
        let tasks = self.tasks(&cell, p, m).at(place)?;
        let config = self.config(&cell, p, m, tasks.as_ref(), memory).at(place)?;
        let assembly = Assembly::new(&config).at(place)?;
        if assembly.seed != cell.seed {
            let found = format!("key `seed` is set to {} from outside of the suite", assembly.seed);
            return Err(Error::new(ErrorKind::Config, found).at(place()).help(
                "take away the --set or environment variable: a suite's seeds stand in its key `seeds`",
            ));
        }
        plan.runs.push(PlannedRun {
            id: assembly.id(),
            provenance: Provenance::without_data(&assembly),
            config: assembly.resolved(),
            cell,
        });
        Ok(())
    }

    /// The class-private bytes after the last task of the row that `cell` is measured by, on the same protocol and with the same seed
    /// or, where that row has no such run, its first.
    fn bytes_of(&self, plan: &Plan, cell: &Cell, memory: &EqualMemory) -> Result<Option<u64>> {
        let same = |r: &&PlannedRun| {
            (&r.cell.model, &r.cell.protocol, r.cell.order) == (&memory.to, &cell.protocol, cell.order)
        };
        let measure = plan.runs.iter().filter(same).max_by_key(|r| r.cell.seed == cell.seed);
        let Some(measure) = measure else { return Ok(None) };
        // A run that cannot be read is reported where results are collected.
        let run = FinishedRun::open(&self.runs.join(&measure.id)).unwrap_or(None);
        Ok(run.and_then(|r| r.metrics.cost.last().map(|c| c.class_bytes.values().map(|b| *b as u64).sum())))
    }

    /// The layers of a run: its model, the suite's keys, the protocol, the model's own keys, memory, seed, and what the command line sets.
    fn config(
        &self,
        cell: &Cell,
        p: &ProtocolSpec,
        m: &ModelSpec,
        tasks: Option<&Vec<Vec<String>>>,
        memory: Option<String>,
    ) -> Result<Config> {
        let text = |name: String, text: String| ConfigFile::Text(name, text);
        let table = |name: String, table: &toml::Table| -> Result<ConfigFile> {
            Ok(text(
                name,
                toml::to_string(&nested(table)).map_err(|e| Error::new(ErrorKind::Config, e.to_string()))?,
            ))
        };
        let suite = &self.spec.name;
        let mut layers = match (&m.model, &m.config) {
            (Some(name), _) => vec![text(format!("built-in model {name}"), model(name)?.to_owned())],
            (None, Some(file)) => vec![ConfigFile::Path(self.path(file))],
            (None, None) => vec![],
        };
        layers.push(table(format!("suite `{suite}`, [config]"), &self.spec.config)?);
        let mut protocol = toml::Table::new();
        match (tasks, &p.preset) {
            (Some(tasks), _) => {
                let tasks = tasks
                    .iter()
                    .map(|t| t.iter().map(|c| c.as_str().into()).collect::<Vec<toml::Value>>().into());
                protocol.insert("tasks".into(), toml::Value::Array(tasks.collect()));
            }
            (None, Some(preset)) => {
                protocol.insert("preset".into(), preset.as_str().into());
            }
            (None, None) => {}
        }
        if let Some(most) = p.later_images {
            protocol.insert("later_images".into(), (most as i64).into());
        }
        let protocol = toml::Table::from_iter([("protocol".to_owned(), protocol.into())]);
        layers.push(table(format!("suite `{suite}`, protocol `{}`", p.name), &protocol)?);
        layers.push(table(format!("suite `{suite}`, model `{}`", m.name), &m.set)?);
        layers.extend(memory.map(|m| text(format!("suite `{suite}`, equal_memory"), m)));
        layers.push(text(format!("suite `{suite}`, seeds"), format!("seed = {}", cell.seed)));
        Config::compose(&layers, self.sets)
    }

    fn path(&self, file: &Path) -> PathBuf {
        self.base.join(file)
    }

    /// The tasks in the cell's order; `None` leaves them to the preset or the configuration.
    fn tasks(&self, cell: &Cell, p: &ProtocolSpec, m: &ModelSpec) -> Result<Option<Vec<Vec<String>>>> {
        let preset = || presets().into_iter().find(|(n, _)| Some(*n) == p.preset.as_deref()).map(|(_, t)| t);
        if cell.order == 0 {
            return Ok(p.tasks.clone());
        }
        let tasks = match p.tasks.clone().or_else(preset) {
            Some(tasks) => tasks,
            None => Assembly::new(&self.config(cell, p, m, None, None)?)?.tasks,
        };
        Ok(Some(shuffled(&tasks, cell.order)))
    }
}

/// All classes in an order drawn by `seed`, in tasks of the same sizes.
pub(crate) fn shuffled(tasks: &[Vec<String>], seed: u64) -> Vec<Vec<String>> {
    let mut classes: Vec<String> = tasks.iter().flatten().cloned().collect();
    classes.shuffle(&mut rand_chacha::ChaCha8Rng::seed_from_u64(seed));
    let mut rest = classes.into_iter();
    tasks.iter().map(|t| rest.by_ref().take(t.len()).collect()).collect()
}

/// A table whose dotted keys are tables in tables.
fn nested(table: &toml::Table) -> toml::Table {
    let mut out = toml::Table::new();
    for (key, value) in table {
        let value = match value {
            toml::Value::Table(t) => toml::Value::Table(nested(t)),
            v => v.clone(),
        };
        put(&mut out, key, value);
    }
    out
}

fn put(into: &mut toml::Table, key: &str, value: toml::Value) {
    if let Some((head, rest)) = key.split_once('.') {
        let slot = into.entry(head).or_insert_with(|| toml::Table::new().into());
        if let toml::Value::Table(t) = slot {
            put(t, rest, value);
        }
        return;
    }
    match (into.get_mut(key), value) {
        (Some(toml::Value::Table(old)), toml::Value::Table(new)) => {
            new.into_iter().for_each(|(k, v)| put(old, &k, v))
        }
        (_, value) => {
            into.insert(key.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotted_keys_and_tables_of_one_name_are_one_table() {
        let t: toml::Table = toml::from_str("\"a.b\" = 1\na = { \"c.d\" = 2 }\ne = [1]").unwrap();
        let expected: toml::Table = toml::from_str("e = [1]\n[a]\nb = 1\nc = { d = 2 }").unwrap();
        assert_eq!(nested(&t), expected);
    }

    #[test]
    fn a_shuffle_keeps_the_sizes_of_tasks_and_every_class() {
        let tasks: Vec<Vec<String>> = [&["a", "b", "c", "d"][..], &["e", "f"], &["g"]]
            .iter()
            .map(|t| t.iter().map(|c| (*c).to_owned()).collect())
            .collect();
        let one = shuffled(&tasks, 1);
        assert_eq!(one.iter().map(Vec::len).collect::<Vec<_>>(), [4, 2, 1]);
        let mut all: Vec<String> = one.iter().flatten().cloned().collect();
        all.sort();
        assert_eq!(all, ["a", "b", "c", "d", "e", "f", "g"]);
        assert_ne!(one, tasks);
        assert_eq!(one, shuffled(&tasks, 1));
        assert_ne!(one, shuffled(&tasks, 2));
    }
}
