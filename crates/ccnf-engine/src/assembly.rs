//! Builds every component of a run from its configuration.

use crate::protocol::ProtocolConfig;
use crate::run_config::{RunConfig, RunSection, Top};
use ccnf_core::{
    Config, ConfigFile, Dataset, DatasetSpec, Detector, DetectorSpec, Encoder, EncoderSpec, Error, ErrorKind,
    FusionConfig, Result, ResultExt, Stage, Strategy, StrategySpec, TestIndex, TrainConfig, TrainIndex,
    build,
};
use ccnf_data::cache::FeatureCache;
use ccnf_loader::Plugin;
use ccnf_tensor::Streams;

/// All components of a run, built.
pub struct Assembly {
    /// The configuration, with every value that was read and its source.
    pub config: Config,
    /// The images.
    pub dataset: Box<dyn Dataset>,
    /// The training images.
    pub train_index: TrainIndex,
    /// The test images; labels come out only joined to finished scores.
    pub test_index: TestIndex,
    /// The tasks of the protocol.
    pub tasks: Vec<Vec<String>>,
    /// Training images of a later class, at most.
    pub later_images: Option<usize>,
    /// The seed from which every random number derives.
    pub seed: u64,
    /// The stages that the strategy makes of the tasks.
    pub stages: Vec<Stage>,
    /// The frozen network.
    pub encoder: Box<dyn Encoder>,
    /// The model.
    pub detector: Box<dyn Detector>,
    /// How the model meets the tasks.
    pub strategy: Box<dyn Strategy>,
    /// The `[train]` section.
    pub train: TrainConfig,
    /// The `[scoring]` section.
    pub scoring: FusionConfig,
    /// The `[run]` section.
    pub run: RunSection,
    /// The run-time plugins that the configuration names.
    pub plugins: Vec<Plugin>,
}

/// The model part of an assembly: what scoring needs.
pub(crate) struct Model {
    pub(crate) encoder: Box<dyn Encoder>,
    pub(crate) detector: Box<dyn Detector>,
    pub(crate) train: TrainConfig,
    pub(crate) scoring: FusionConfig,
    pub(crate) run: RunSection,
}

/// Builds encoder and detector.
pub(crate) fn build_model(config: &Config) -> Result<Model> {
    let root = config.root()?;
    let (top, _) = Top::read(config)?;
    let defaults = RunConfig::default();
    let train: TrainConfig = root.child("train").read()?;
    check_train(&train, &root.child("train"))?;
    let scoring: FusionConfig = root.child("scoring").read()?;
    scoring.check(&root.child("scoring"))?;
    let run: RunSection = root.child("run").read()?;
    let encoder = build::<dyn Encoder>(&root.component("encoder", &defaults.encoder), &EncoderSpec {})?;
    let spec = DetectorSpec {
        levels: encoder.levels(),
        train: train.clone(),
        fusion: scoring.clone(),
        streams: Streams::new(top.seed),
    };
    let detector = build::<dyn Detector>(&root.component("detector", &defaults.detector), &spec)?;
    Ok(Model { encoder, detector, train, scoring, run })
}

impl Assembly {
    /// Builds all components. Errors name the key path, its source, and what is wrong with the data.
    pub fn new(config: &Config) -> Result<Assembly> {
        let root = config.root()?;
        let (top, plugins) = Top::read(config)?;
        let defaults = RunConfig::default();
        let dataset = build::<dyn Dataset>(
            &root.component("dataset", &defaults.dataset),
            &DatasetSpec { seed: top.seed },
        )?;
        let mut index = dataset.index()?;
        let protocol: ProtocolConfig = root.child("protocol").read()?;
        let tasks = protocol.tasks(&index.classes(), &root.child("protocol"))?;
        index.retain(|c| tasks.iter().flatten().any(|t| t == c));
        let (mut train_index, test_index) = index.split()?;
        if let Some(most) = protocol.later_images {
            for class in tasks.iter().skip(1).flatten() {
                train_index.draw(
                    class,
                    most,
                    &mut Streams::new(top.seed).stream(&format!("protocol.{class}"), 0),
                );
            }
        }
        let Model { encoder, detector, train, scoring, run } = build_model(config)?;
        let spec = StrategySpec { train: train.clone(), streams: Streams::new(top.seed) };
        let strategy = build::<dyn Strategy>(&root.component("strategy", &defaults.strategy), &spec)?;
        of_own_plugins(config, &plugins)?;
        let stages = strategy.stages(&tasks);
        detector.fits(&stages).at(|| "key `detector`".to_owned())?;
        strategy.fits(&stages, detector.as_ref()).at(|| "key `strategy`".to_owned())?;
        Ok(Assembly {
            config: config.clone(),
            dataset,
            train_index,
            test_index,
            tasks,
            later_images: protocol.later_images,
            seed: top.seed,
            stages,
            encoder,
            detector,
            strategy,
            train,
            scoring,
            run,
            plugins,
        })
    }

    /// The resolved configuration without the keys that have no value: a configuration of its own, also in TOML, which has no null.
    pub fn resolved(&self) -> serde_json::Value {
        without_null(self.config.resolved_json())
    }

    /// Hash of everything that determines the results: resolved configuration (without `[run]`), encoder, plugins, program version and the
    /// list of images. Image contents are not read here: a changed image changes its cached features, not the id.
    pub fn id(&self) -> String {
        let mut h = blake3::Hasher::new();
        h.update(b"ccnf-run-1");
        h.update(env!("CARGO_PKG_VERSION").as_bytes());
        for (path, r) in self.config.resolved() {
            if !["run", "plugins"].contains(&section(&path)) {
                h.update(path.as_bytes());
                h.update(r.value.to_string().as_bytes());
            }
        }
        h.update(self.encoder.fingerprint().as_bytes());
        // Where a plugin lies makes no difference, what it is does.
        self.plugins.iter().for_each(|p| {
            h.update(p.sha256.as_bytes());
        });
        for class in self.tasks.iter().flatten() {
            h.update(class.as_bytes());
            for i in self.train_index.images(class) {
                h.update(i.source.label().as_bytes());
            }
            for i in self.test_index.images(class) {
                h.update(i.source.label().as_bytes());
            }
        }
        h.finalize().to_hex()[..16].to_string()
    }

    /// The feature cache. The features of a run-time plugin's encoder lie in a folder of the plugin's hash: whoever changes its code may forget
    /// to change its fingerprint.
    pub fn open_cache(&self) -> Result<FeatureCache> {
        let brings_it = |p: &&Plugin| {
            let mut encoders = p.components.iter().filter(|(kind, _)| *kind == "encoder");
            encoders.any(|(kind, name)| uses(&self.config, kind, name).is_some())
        };
        let root = self.plugins.iter().filter(brings_it).fold(self.run.cache_folder(), |folder, p| {
            folder.join(format!("plugin-{}", p.sha256.get(..16).unwrap_or(&p.sha256)))
        });
        FeatureCache::open(Some(root), self.encoder.as_ref())
    }

    /// The classes of all stages in the order in which they are learnt, with their stage.
    pub fn classes(&self) -> Vec<(String, usize)> {
        let of_stage = |(s, stage): (usize, &Stage)| {
            stage.classes.iter().map(move |c| (c.clone(), s)).collect::<Vec<_>>()
        };
        self.stages.iter().enumerate().flat_map(of_stage).collect()
    }
}

/// Fails for a component of a plugin that the configuration does not name: another configuration of this process has loaded it, and its file
/// would be missing in this one's id.
fn of_own_plugins(config: &Config, plugins: &[Plugin]) -> Result<()> {
    for plugin in ccnf_loader::loaded().iter().filter(|p| !plugins.contains(p)) {
        for (kind, name) in &plugin.components {
            if let Some(key) = uses(config, kind, name) {
                let found = format!(
                    "the {kind} `{name}` is of the plugin `{}`, which this configuration does not name",
                    plugin.name
                );
                return Err(Error::new(ErrorKind::UnknownComponent, found)
                    .at(format!("key `{key}`"))
                    .help(format!("add it: [plugins] paths = [{:?}]", plugin.path)));
            }
        }
    }
    Ok(())
}

/// The key under which a configuration that has been read names the component `name` of `kind`.
fn uses(config: &Config, kind: &str, name: &str) -> Option<String> {
    let is_of_kind = |path: &str| {
        let mut parts = path.rsplit('.').filter(|part| part.parse::<usize>().is_err());
        parts.next() == Some("kind") && parts.next().is_some_and(|of| of.trim_end_matches('s') == kind)
    };
    config.resolved().into_iter().find(|(path, r)| is_of_kind(path) && r.value == name).map(|(path, _)| path)
}

/// The first part of a key path.
pub(crate) fn section(path: &str) -> &str {
    path.split('.').next().unwrap_or_default()
}

fn without_null(v: serde_json::Value) -> serde_json::Value {
    use serde_json::Value as J;
    match v {
        J::Object(o) => J::Object(
            o.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_null(v))).collect(),
        ),
        J::Array(a) => J::Array(a.into_iter().filter(|v| !v.is_null()).map(without_null).collect()),
        v => v,
    }
}

fn check_train(train: &TrainConfig, section: &ccnf_core::Section) -> Result<()> {
    for (name, phase) in [("first", &train.first), ("later", &train.later)] {
        if phase.tokens == 0 || phase.tokens > 1 << 24 {
            return Err(section.error(&format!("{name}.tokens"), "must be between 1 and 16777216"));
        }
        if !(phase.lr >= 0.0 && phase.lr.is_finite()) {
            return Err(section.error(&format!("{name}.lr"), "must be finite and not negative"));
        }
    }
    if train.checkpoint_every == 0 {
        return Err(section.error("checkpoint_every", "must be at least 1"));
    }
    if train.betas.iter().any(|b| !(0.0..1.0).contains(b)) {
        return Err(section.error("betas", "must be in [0, 1)"));
    }
    for (key, v) in [("eps", train.eps), ("weight_decay", train.weight_decay), ("clip", train.clip)] {
        if !(v >= 0.0 && v.is_finite()) {
            return Err(section.error(key, "must be finite and not negative"));
        }
    }
    Ok(())
}

/// Composes the configuration of a run: the given files (or the embedded quickstart), the environment and `--set`.
pub fn compose_for_run(
    files: &[std::path::PathBuf],
    sets: &[String],
    quickstart: &'static str,
) -> Result<Config> {
    let layers: Vec<ConfigFile> = if files.is_empty() {
        vec![ConfigFile::Text("built-in config quickstart".into(), quickstart.into())]
    } else {
        files.iter().cloned().map(ConfigFile::Path).collect()
    };
    Config::compose(&layers, sets)
}
