//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  ccnf compare                                 six models, two seeds, generated images: who forgets? Writes suites/quickstart/report.html
  ccnf run                                     one run: generated images, three tasks, no download
  ccnf run configs/models/mahalanobis.toml --set dataset.kind=mvtec --set dataset.path=data/mvtec --set protocol.preset=mvtec-3x5
  ccnf predict runs/ID parts/ --out pictures   scores and heat maps for a folder of images
  ccnf describe ccnf                           every key of a component, with its default
  ccnf plugin new my-coupling --kind coupling  a component of your own

Exit codes:
  0 success    2 usage or configuration    3 images, datasets, encoders    4 files or disk
  5 a NaN or infinity    6 checkpoint or lock    70 a bug in a component";

/// Continual visual anomaly detection: compose a model in a config, learn classes task after task, score and localise defects in all of them.
#[derive(Debug, Parser)]
#[command(name = "ccnf", version, about, after_help = EXAMPLES, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// What to log: error, warn, info, debug, trace, or a filter such as `info,ccnf_data=debug`
    #[arg(long, global = true, env = "CCNF_LOG", default_value = "warn", value_name = "LEVEL")]
    pub(crate) log: String,
    /// Log as JSON lines
    #[arg(long, global = true)]
    pub(crate) log_json: bool,
    /// Load this plugin; may be repeated. CCNF_PLUGINS names more, separated as in PATH
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) plugin: Vec<PathBuf>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Carry one continual run through: train and score stage after stage
    ///
    /// Killed at any moment, the same command goes on where it stopped; a finished run is not run again. Without CONFIG the built-in
    /// quickstart runs: generated images, three tasks, no download.
    Run(RunArgs),
    /// Carry a comparison suite through: models x protocols x class orders x seeds, then statistics and a report
    ///
    /// Killed at any moment, the same command goes on where it stopped; finished runs are not run again, a failed one does not stop the
    /// others. Without SUITE the built-in quickstart suite runs: six models, generated images, two seeds.
    Compare(CompareArgs),
    /// Carry out one run of a suite (what executors start)
    RunOne(RunOneArgs),
    /// Say what has become of a suite's runs, and write its tables and report anew from those that have finished
    Collect(CollectArgs),
    /// Write the report of a suite's folder: HTML, Markdown, LaTeX, CSV
    Report(ReportArgs),
    /// Look into finished runs: what changed in the model between tasks, and which part of it makes earlier classes worse
    ///
    /// Change of tensors, latents and class weights; the swap test with refits and the control without any flow; entropies over the classes
    /// before and after every task; t-SNE of the latents with the numbers beside it. Several runs, such as HGAD's freeze modes, come into one
    /// page. Single-stage runs and detectors without latents give what is defined, and say why the rest is not.
    Diagnose(DiagnoseArgs),
    /// Show what differs between two runs: configuration, data, weights, protocol, program, then the numbers
    Diff(DiffArgs),
    /// Score a finished run's model again, on its own or another dataset
    Eval(EvalArgs),
    /// Score images with a finished run's model: JSON lines, heat maps, raw maps
    Predict(PredictArgs),
    /// List the registered components, the built-in protocols or model configs
    List(ListArgs),
    /// Show a component: what it is, its keys and their defaults
    Describe(DescribeArgs),
    /// Check a configuration and the data it names, without running it
    Check(CheckArgs),
    /// Print a JSON schema
    Schema(SchemaArgs),
    /// Make or look at datasets
    #[command(subcommand)]
    Data(DataCommand),
    /// Write, build, check and link plugins: components of your own
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Print a completion script for a shell, for example: ccnf completions bash > ~/.local/share/bash-completion/completions/ccnf
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// Whether `--plugin` and `CCNF_PLUGINS` mean anything to it. Those that make plugins must work where these name one that does not fit.
    pub(crate) fn uses_plugins(&self) -> bool {
        use PluginCommand::{Build, Bundle, New, Sdk, Test};
        let makes = matches!(self, Command::Plugin(New(_) | Build(_) | Test(_) | Sdk(_) | Bundle(_)));
        !makes && !matches!(self, Command::Completions { .. })
    }
}

/// A configuration from files and overrides.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Configuration files; later ones override earlier ones. None: the built-in quickstart
    #[arg(value_name = "CONFIG")]
    pub(crate) config: Vec<PathBuf>,
    /// Set one key, such as train.first.steps=500; may be repeated. Keys can also be set by environment variables:
    /// CCNF_CONFIG__TRAIN__FIRST__STEPS=500
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The run's folder; default: runs/ID, where ID is a hash of what determines the results
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The suite's file; none: the built-in quickstart suite
    #[arg(value_name = "SUITE")]
    pub(crate) suite: Option<PathBuf>,
    /// The suite's folder; default: suites/NAME
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Runs at a time; default: one per processor, as far as there are 2 GiB of memory for each
    #[arg(long, short, value_name = "N")]
    pub(crate) jobs: Option<usize>,
    /// Set one key of every run, such as dataset.path=data/mvtec; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Print the runs and what has become of them, and run nothing
    #[arg(long)]
    pub(crate) plan: bool,
    /// Who carries out the runs
    #[arg(long, default_value = "local")]
    pub(crate) executor: Executor,
    /// With --executor slurm: an option for sbatch, such as --sbatch=--partition=cpu; may be repeated
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    pub(crate) sbatch: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Executor {
    /// Processes of this machine; returns when all runs have ended
    Local,
    /// A Slurm job array; returns at once. The same command later submits what was lost, `ccnf collect DIR` makes the tables
    Slurm,
    /// Prints one shell command per open run, for GNU parallel and others
    List,
}

#[derive(Debug, Args)]
pub(crate) struct RunOneArgs {
    /// The run's id
    pub(crate) id: String,
    /// The suite's folder
    #[arg(long, value_name = "DIR")]
    pub(crate) suite: PathBuf,
    /// For a program that waits for this one: progress as JSON lines on standard output, and an end as soon as standard input ends
    #[arg(long)]
    pub(crate) progress: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CollectArgs {
    /// The suite's folder
    pub(crate) suite: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The suite's folder
    pub(crate) suite: PathBuf,
    /// Write the report into this folder; default: the suite's
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Leave out pictures of the dataset, for a report that is published
    #[arg(long)]
    pub(crate) no_pictures: bool,
    /// Also write TensorBoard event files of all finished runs, as PROTOCOL/MODEL/seedN below this folder: tensorboard --logdir DIR
    #[arg(long, value_name = "DIR")]
    pub(crate) tensorboard: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DiagnoseArgs {
    /// The runs' folders
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,
    /// Write diagnosis.html, its plots as SVG and its numbers as CSV and JSON into this folder
    #[arg(long, value_name = "DIR", default_value = "diagnosis")]
    pub(crate) out: PathBuf,
    /// Only these: drift, swap, freeze, latents
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// The seed of every draw: tokens, training images, bootstrap
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Override a key of the runs' configurations, such as dataset.path
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The first run's folder
    pub(crate) first: PathBuf,
    /// The second run's folder
    pub(crate) second: PathBuf,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// The run's folder
    pub(crate) run: PathBuf,
    /// Score the model after this stage, counted from 1; default: the last
    #[arg(long)]
    pub(crate) stage: Option<usize>,
    /// Override a key of the run's configuration, such as dataset.path
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Write the evaluation with all per-image scores to this JSON file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct PredictArgs {
    /// The run's folder
    pub(crate) run: PathBuf,
    /// Image files, folders (searched deeply) or quoted patterns
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// The class of all images; default: the router chooses it per image
    #[arg(long)]
    pub(crate) class: Option<String>,
    /// Use the model after this stage, counted from 1; default: the last
    #[arg(long)]
    pub(crate) stage: Option<usize>,
    /// Write a heat map NAME.png per image into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Write the raw anomaly map NAME.npy per image into --out as well
    #[arg(long, requires = "out")]
    pub(crate) npy: bool,
    /// Override a key of the run's configuration
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only this kind of component (dataset, encoder, detector, layer, coupling, conditioner, regularizer, scorer, router, strategy), or `protocols` or `models`
    pub(crate) kind: Option<String>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// The component's name, if need be with its kind: `likelihood` or `router/likelihood`
    pub(crate) name: String,
    /// As JSON, with the full schema
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Print the resolved configuration with the source of every value as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum SchemaKind {
    /// The configuration of a run, with a schema for every component
    Config,
    /// The layout of metrics.json
    Metrics,
    /// A suite's file
    Suite,
    /// The layout of a suite's results.json
    Results,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// Which schema
    #[arg(default_value = "config")]
    pub(crate) what: SchemaKind,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Write the generated dataset as image files in MVTec AD layout
    Synth(SynthArgs),
    /// Count the images, labels and masks of a configuration's dataset and look for broken files
    Inspect(ConfigArgs),
    /// Make a dataset for choosing settings from a configuration's training images alone
    ///
    /// Part of every class's training images becomes normal test images; each of these also gives test images with a painted defect and its mask.
    /// What is painted follows from the images, not from the seed. The dataset's own test images are not touched, so what is chosen on the
    /// result is not chosen on them. A model that was trained against painted defects has seen other defects of the same painter: compare it
    /// here only with models that were, too.
    Validation(ValidationArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ValidationArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The folder to write into, in MVTec AD layout; must be empty or new
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Cut the images of every class into so many parts, of which one is held out
    #[arg(long, default_value_t = 4)]
    pub(crate) parts: usize,
    /// The part that is held out, counted from 0
    #[arg(long, default_value_t = 0)]
    pub(crate) part: usize,
    /// Defective images per image held out
    #[arg(long, default_value_t = 2)]
    pub(crate) painted: usize,
}

#[derive(Debug, Args)]
pub(crate) struct SynthArgs {
    /// The folder to write into; must be empty or new
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// The seed
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Side of the images in pixels
    #[arg(long, default_value_t = 128)]
    pub(crate) size: usize,
    /// Training images per class
    #[arg(long, default_value_t = 60)]
    pub(crate) train: usize,
    /// Normal test images per class
    #[arg(long, default_value_t = 20)]
    pub(crate) test_good: usize,
    /// Test images per kind of defect and class
    #[arg(long, default_value_t = 6)]
    pub(crate) test_per_defect: usize,
    /// Only these classes
    #[arg(long, value_delimiter = ',')]
    pub(crate) classes: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Begin a plugin: a crate with a working component of a kind and its tests
    New(PluginNewArgs),
    /// Build a plugin, or those of a workspace, against an SDK
    Build(PluginBuildArgs),
    /// Run a plugin's tests against an SDK
    Test(PluginTestArgs),
    /// Say whether this program takes a plugin, and check its components against the contracts of their kinds
    ///
    /// File, stamp, libraries and symbols are compared before any code of the plugin runs; then every component goes through the conformance suite in a
    /// process of its own.
    Check(PluginCheckArgs),
    /// List the plugins that are loaded and the crates that are linked in, with their components
    List(PluginListArgs),
    /// Make a binary SDK from the sources of ccnf: the program that loads plugins, and what they are built against
    Sdk(PluginSdkArgs),
    /// Link plugins into a program, from the sources of ccnf: works wherever Rust does
    Bundle(PluginBundleArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PluginNewArgs {
    /// The crate's name, such as my-coupling
    pub(crate) name: String,
    /// The kind of component: dataset, encoder, detector, layer, coupling, conditioner, regularizer, scorer, router, strategy; several separated by commas
    #[arg(long, required = true, value_delimiter = ',', value_name = "KIND")]
    pub(crate) kind: Vec<String>,
    /// The new folder; default: NAME
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SdkArgs {
    /// The SDK's folder; default: CCNF_SDK, else the SDK that this program is part of
    #[arg(long, value_name = "DIR")]
    pub(crate) sdk: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct PluginBuildArgs {
    /// The plugin's folder, or that of a workspace
    #[arg(default_value = ".")]
    pub(crate) folder: PathBuf,
    #[command(flatten)]
    pub(crate) sdk: SdkArgs,
    /// Do not optimise
    #[arg(long)]
    pub(crate) debug: bool,
    /// Options for cargo build
    #[arg(last = true, value_name = "OPTION")]
    pub(crate) options: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PluginTestArgs {
    /// The plugin's folder
    #[arg(default_value = ".")]
    pub(crate) folder: PathBuf,
    #[command(flatten)]
    pub(crate) sdk: SdkArgs,
    /// Options for cargo test
    #[arg(last = true, value_name = "OPTION")]
    pub(crate) options: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PluginCheckArgs {
    /// The plugin's file
    pub(crate) file: PathBuf,
    /// Keys of a component for the checks, such as dataset/my-files.path=images; may be repeated
    #[arg(long = "set", value_name = "KIND/NAME.KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Check this component in this process
    #[arg(long, value_name = "KIND/NAME", hide = true)]
    pub(crate) here: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PluginListArgs {
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PluginSdkArgs {
    /// The new folder
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) program: ProgramArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PluginBundleArgs {
    /// The plugins' folders
    #[arg(required = true, value_name = "PLUGIN")]
    pub(crate) plugins: Vec<PathBuf>,
    /// The folder of the program's crate: new, or that of an earlier bundle
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) program: ProgramArgs,
}

/// How a program is built.
#[derive(Debug, Args)]
pub(crate) struct ProgramArgs {
    /// The sources of ccnf
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) source: PathBuf,
    /// Do not optimise
    #[arg(long)]
    pub(crate) debug: bool,
    /// Features of the program, such as onnx
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    pub(crate) features: Vec<String>,
}
