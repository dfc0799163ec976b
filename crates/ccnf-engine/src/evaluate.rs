//! Scores a finished run's model again, on its own or another dataset.

use crate::assembly::Assembly;
use crate::checkpoint::read_checkpoint;
use crate::folder::read_json;
use crate::observer::Observer;
use crate::provenance::Provenance;
use crate::score_stage::{Scoring, StageEvaluation};
use ccnf_core::{Config, ConfigFile, Encoder, Error, ErrorKind, Result, restore};
use std::path::{Path, PathBuf};

/// The result of [`evaluate_run`].
#[derive(Debug)]
pub struct EvalOutcome {
    /// The stage whose model was scored, from 0.
    pub stage: usize,
    /// The scores.
    pub evaluation: StageEvaluation,
}

/// The configuration of a run folder, with overrides.
pub(crate) fn run_config(folder: &Path, sets: &[String]) -> Result<Config> {
    let path = folder.join("config.toml");
    if !path.exists() {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("`{}` is not a run folder: it has no config.toml", folder.display()),
        )
        .help("give the folder that `ccnf run` printed"));
    }
    Config::compose(&[ConfigFile::Path(path)], sets)
}

/// Fails where the encoder is another one than the run's: the model would read features that it was not made for. Stored features of other
/// images are another encoder by name only, and a run of an earlier version has no record of its encoder.
pub(crate) fn same_encoder(folder: &Path, encoder: &dyn Encoder) -> Result<()> {
    let recorded = read_json::<Provenance>(&folder.join("provenance.json"))?;
    match recorded.filter(|p| encoder.cacheable() && p.weights != encoder.fingerprint()) {
        None => Ok(()),
        Some(_) => {
            Err(Error::new(ErrorKind::Encoder, "the encoder is not the one that the model was trained with")
                .at("key `encoder`")
                .help("leave out --set of encoder keys; to compare encoders, train a model with each"))
        }
    }
}

/// The checkpoint of `stage`, by default the last one that is there.
pub(crate) fn stage_path(folder: &Path, stage: Option<usize>) -> Result<PathBuf> {
    let path = |s: usize| folder.join(format!("checkpoints/stage{s}.safetensors"));
    let last = (0..).take_while(|s| path(*s).exists()).last();
    match (stage, last) {
        (_, None) => {
            Err(Error::new(ErrorKind::Checkpoint, format!("`{}` has no finished stage", folder.display()))
                .help("run it first: `ccnf run … --out DIR`"))
        }
        (Some(s), Some(l)) if s > l => Err(Error::new(
            ErrorKind::Usage,
            format!("`{}` has {} finished stages, not {}", folder.display(), l + 1, s + 1),
        )),
        (s, Some(l)) => Ok(path(s.unwrap_or(l))),
    }
}

/// Scores the model of a run after `stage` (default: the last) on the dataset of its configuration with `sets` applied.
pub fn evaluate_run(
    folder: &Path,
    stage: Option<usize>,
    sets: &[String],
    observer: &dyn Observer,
) -> Result<EvalOutcome> {
    let config = run_config(folder, sets)?;
    let mut a = Assembly::new(&config)?;
    same_encoder(folder, a.encoder.as_ref())?;
    let checkpoint = read_checkpoint(&stage_path(folder, stage)?)?;
    restore(a.detector.as_mut(), &checkpoint.model)?;
    let cache = a.open_cache()?;
    let scoring = Scoring {
        dataset: a.dataset.as_ref(),
        test: &a.test_index,
        encoder: a.encoder.as_ref(),
        cache: &cache,
        detector: a.detector.as_ref(),
        config: &a.scoring,
    };
    let known = a.detector.classes();
    let classes: Vec<(String, usize)> = a.classes().into_iter().filter(|(c, _)| known.contains(c)).collect();
    let evaluation = scoring.stage(checkpoint.stage, &classes, None, observer)?;
    Ok(EvalOutcome { stage: checkpoint.stage, evaluation })
}
