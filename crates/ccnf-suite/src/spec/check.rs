//! What a suite must hold to be planned.

use super::SuiteSpec;
use ccnf_core::{Error, ErrorKind, Result};
use std::collections::BTreeSet;

fn wrong<T>(message: String) -> Result<T> {
    Err(Error::new(ErrorKind::Config, message))
}

/// Whether a name can stand in tables and file names.
fn plain(name: &str) -> bool {
    name.len() <= 80
        && name.starts_with(char::is_alphanumeric)
        && name.chars().all(|c| c.is_alphanumeric() || "-_.+, ()".contains(c))
}

fn seeds(key: &str, seeds: &[u64]) -> Result<()> {
    match seeds.is_empty() {
        true => wrong(format!("the grid is empty: key `{key}` has no seed")),
        false if seeds.iter().collect::<BTreeSet<_>>().len() < seeds.len() => {
            wrong(format!("key `{key}`: a seed comes twice"))
        }
        false => Ok(()),
    }
}

impl SuiteSpec {
    /// Fails with the key of what is wrong.
    pub(super) fn check(&self) -> Result<()> {
        if !plain(&self.name) {
            return wrong(format!(
                "key `name`: `{}` is not a name of letters, digits, spaces and `-_.,+()`",
                self.name
            ));
        }
        if self.threads == 0 {
            return wrong("key `threads`: a run has at least one thread".into());
        }
        seeds("seeds", &self.seeds)?;
        let names = self.check_models()?;
        self.check_protocols(&names)
    }

    /// Returns the names of the models.
    fn check_models(&self) -> Result<BTreeSet<&str>> {
        if self.models.is_empty() {
            return Err(Error::new(ErrorKind::Config, "the grid is empty: the suite has no model")
                .help("add one: [[models]] model = \"ccnf-best\""));
        }
        let mut names = BTreeSet::new();
        for m in &self.models {
            if !plain(&m.name) {
                return wrong(format!(
                    "key `models.name`: `{}` is not a name of letters, digits, spaces and `-_.,+()`",
                    m.name
                ));
            }
            if !names.insert(m.name.as_str()) {
                return Err(Error::new(ErrorKind::Config, format!("two models are called `{}`", m.name))
                    .help("give one of them a `name` of its own"));
            }
        }
        let of_grid = |t: &toml::Table, key: &str| t.keys().any(|k| k.split('.').next() == Some(key));
        if of_grid(&self.config, "seed") || self.models.iter().any(|m| of_grid(&m.set, "seed")) {
            return wrong("key `seed` belongs to no run alone: the suite's seeds stand in `seeds`".into());
        }
        if let Some(m) =
            self.models.iter().find(|m| of_grid(&m.set, "protocol") || of_grid(&m.set, "dataset"))
        {
            return wrong(format!(
                "model `{}`: its `set` changes protocol or dataset, so that it could not be compared with the others",
                m.name
            ));
        }
        for m in &self.models {
            if let Some(e) =
                m.equal_memory.as_ref().filter(|e| !names.contains(e.to.as_str()) || e.to == m.name)
            {
                return wrong(format!("key `models.equal_memory.to`: there is no other model `{}`", e.to));
            }
        }
        let waits = |name: &str| self.models.iter().any(|m| m.name == name && m.equal_memory.is_some());
        if let Some(m) = self.models.iter().find(|m| m.equal_memory.as_ref().is_some_and(|e| waits(&e.to))) {
            return wrong(format!(
                "key `models.equal_memory.to`: `{}` is measured by a model that waits itself",
                m.name
            ));
        }
        Ok(names)
    }

    fn check_protocols(&self, names: &BTreeSet<&str>) -> Result<()> {
        let mut protocols = BTreeSet::new();
        for p in &self.protocols {
            let key = |key: &str| format!("protocols.{}.{key}", p.name);
            if !plain(&p.name) || !protocols.insert(p.name.as_str()) {
                return wrong(format!(
                    "key `protocols.name`: `{}` comes twice or is not a plain name",
                    p.name
                ));
            }
            if p.orders.is_empty() || p.orders.iter().collect::<BTreeSet<_>>().len() < p.orders.len() {
                return wrong(format!("key `{}`: at least one order, and none twice", key("orders")));
            }
            if let Some(s) = &p.seeds {
                seeds(&key("seeds"), s)?;
            }
            if p.preset.is_some() && p.tasks.is_some() {
                return wrong(format!("key `{}`: give either `preset` or `tasks`, not both", key("tasks")));
            }
            for name in p.models.iter().flatten() {
                if !names.contains(name.as_str()) {
                    let all: Vec<&str> = names.iter().copied().collect();
                    return Err(Error::new(
                        ErrorKind::Config,
                        format!("key `{}`: there is no model `{name}`", key("models")),
                    )
                    .help(format!("the suite's models: {}", all.join(", "))));
                }
            }
            if p.models.as_ref().is_some_and(Vec::is_empty) {
                return wrong(format!("the grid is empty: key `{}` names no model", key("models")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        SuiteSpec::parse(text, "test").unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_run_is_an_error_that_names_the_key() {
        let head = "name = \"s\"\n";
        let one = "[[models]]\nmodel = \"ccnf\"\n";
        assert!(error(head).contains("the grid is empty"));
        assert!(error(&format!("{head}seeds = []\n{one}")).contains("the grid is empty: key `seeds`"));
        assert!(error(&format!("{head}seeds = [1, 1]\n{one}")).contains("a seed comes twice"));
        assert!(error(&format!("{head}{one}{one}")).contains("two models are called `ccnf`"));
        assert!(error(&format!("{head}[[models]]\nname = \"a\"")).contains("has no config"));
        assert!(
            error(&format!("{head}{one}[[protocols]]\nname = \"p\"\nmodels = [\"b\"]"))
                .contains("there is no model `b`")
        );
        assert!(
            error(&format!("{head}{one}[[protocols]]\nname = \"p\"\norders = []"))
                .contains("protocols.p.orders")
        );
        assert!(
            error(&format!("{head}{one}equal_memory = {{ to = \"ccnf\" }}"))
                .contains("no other model `ccnf`")
        );
        assert!(error(&format!("{head}colour = 1\n{one}")).contains("colour"));
        assert!(error(&format!("{head}{one}set = {{ seed = 1 }}")).contains("stand in `seeds`"));
        assert!(
            error(&format!("{head}{one}set = {{ \"protocol.preset\" = \"x\" }}"))
                .contains("could not be compared")
        );
        let both = "[[protocols]]\nname = \"p\"\npreset = \"x\"\ntasks = [[\"a\"]]";
        assert!(error(&format!("{head}{one}{both}")).contains("either `preset` or `tasks`"));
        let two = "[[models]]\nname = \"b\"\nmodel = \"ccnf\"\nequal_memory = { to = \"ccnf\" }\n";
        assert!(
            error(&format!("{head}{one}equal_memory = {{ to = \"b\" }}\n{two}")).contains("waits itself")
        );
        assert!(error("name = \"../x\"\n[[models]]\nmodel = \"ccnf\"").contains("not a name"));
    }
}
