//! The model configs that come with the program, by name.

use ccnf_core::{Error, ErrorKind, Result, did_you_mean};

macro_rules! models {
    ($($name:literal),* $(,)?) => {
        const MODELS: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../../configs/models/", $name, ".toml")))),*];
    };
}

models!(
    "ccnf",
    "ccnf-adapters",
    "ccnf-best",
    "ccnf-context",
    "ccnf-defects",
    "ccnf-embedding-noise",
    "ccnf-episodes",
    "ccnf-ewc",
    "ccnf-few",
    "ccnf-film",
    "ccnf-fine-tune",
    "ccnf-free-codes",
    "ccnf-haar",
    "ccnf-image-module",
    "ccnf-joint",
    "ccnf-linear",
    "ccnf-literal",
    "ccnf-lwf",
    "ccnf-private-blocks",
    "ccnf-private-flow",
    "ccnf-prototype-rows",
    "ccnf-pseudo-classes",
    "ccnf-replay",
    "ccnf-si",
    "ccnf-small",
    "ccnf-spline",
    "hgad",
    "hgad-freeze-both",
    "hgad-freeze-flow",
    "hgad-freeze-mixture",
    "hgad-joint",
    "hgad-literal",
    "hgad-pyramid",
    "hgad-replay",
    "iuf",
    "iuf-fine-tune",
    "iuf-joint",
    "mahalanobis",
    "mahalanobis-per-position",
    "mahalanobis-pooled",
    "mahalanobis-position-mean",
    "patch-memory",
);

/// Name and text of every built-in model config, sorted.
pub fn models() -> &'static [(&'static str, &'static str)] {
    MODELS
}

/// The text of a built-in model config.
pub fn model(name: &str) -> Result<&'static str> {
    if let Some((_, text)) = MODELS.iter().find(|(n, _)| *n == name) {
        return Ok(text);
    }
    let hint = did_you_mean(name, MODELS.iter().map(|(n, _)| *n))
        .map(|g| format!(" (did you mean `{g}`?)"))
        .unwrap_or_default();
    let names: Vec<&str> = MODELS.iter().map(|(n, _)| *n).collect();
    Err(Error::new(ErrorKind::Config, format!("no model is called `{name}`{hint}"))
        .help(format!("built-in models: {}; a file of your own: config = \"FILE.toml\"", names.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_configs_models_is_built_in() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/models");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|f| f.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        files.sort();
        assert_eq!(files, MODELS.iter().map(|(n, _)| *n).collect::<Vec<_>>());
    }

    #[test]
    fn an_unknown_model_is_an_error_with_a_guess() {
        let e = model("hgda").unwrap_err().to_string();
        assert!(e.contains("`hgda`") && e.contains("did you mean `hgad`"), "{e}");
    }
}
