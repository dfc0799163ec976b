//! `ccnf plugin check`: loads a plugin and runs the conformance suite on its components, all of it in processes of their own. What Rust cannot
//! catch, such as a failed allocation, ends only those.

use crate::args::PluginCheckArgs;
use crate::exit::{end_when_orphaned, print};
use ccnf_core::{Config, Error, ErrorKind, Result, ResultExt};
use ccnf_loader::PluginSource;
use ccnf_testkit::conformance::{self, Extra};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// What a process prints at its end: one that ends without it was ended by the plugin.
const TO_THE_END: &str = "\nccnf: checked to the end\n";
/// What a process is asked for that lists the components; no component is called so.
const COMPONENTS: &str = "components";

pub(super) fn check(args: &PluginCheckArgs) -> Result<()> {
    if let Some(component) = &args.here {
        return here(args, component);
    }
    // What cannot be meant is said before anything is done.
    extra(&args.set, &[])?;
    let file = ccnf_loader::inspect(&args.file, None)?;
    print(&format!("file, stamp and libraries of `{}` {} fit this program\n", file.name, file.version))?;
    let components = components(args)?;
    extra(&args.set, &components)?;
    print(&format!("it is loaded and brings {}\nsha256 {}\n", components.join(", "), file.sha256))?;
    let mut failed = vec![];
    for component in &components {
        let done = Done::of(args, component)?;
        match done.status.success() && done.to_the_end {
            true => print(&format!("{component}: keeps the contract of its kind\n"))?,
            false => {
                print(&format!("{component}: FAILS\n  {}\n", done.why().replace('\n', "\n  ")))?;
                failed.push(component.clone());
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    let found = format!("{} of {} components fail: {}", failed.len(), components.len(), failed.join(", "));
    Err(Error::new(ErrorKind::Contract, found).help(
        "what each does against its contract stands above; the contracts are in the documentation of the traits",
    ))
}

/// The plugin's components, from a process that has loaded it.
fn components(args: &PluginCheckArgs) -> Result<Vec<String>> {
    let done = Done::of(args, COMPONENTS)?;
    if done.status.success() && done.to_the_end {
        return Ok(done.out.lines().filter(|line| line.contains('/')).map(str::to_owned).collect());
    }
    // The loader's own refusal, places and advice included.
    if let Some(refused) =
        done.err.strip_prefix(&format!("error[{}]: ", Error::new(ErrorKind::Plugin, "").code()))
    {
        return Err(Error::new(ErrorKind::Plugin, refused));
    }
    Err(Error::new(ErrorKind::Contract, format!("it cannot be loaded: {}", done.why()))
        .at(format!("plugin `{}`", args.file.display())))
}

/// How a process ended, and what it printed.
struct Done {
    status: ExitStatus,
    to_the_end: bool,
    out: String,
    err: String,
}

impl Done {
    /// A process for one component, or for the list of them.
    fn of(args: &PluginCheckArgs, what: &str) -> Result<Done> {
        let program = std::env::current_exe().map_err(|e| Error::io("find", Path::new("this program"), e))?;
        let mut command = Command::new(&program);
        command.args(["plugin", "check"]).arg(&args.file).args(["--here", what]);
        args.set.iter().for_each(|s| {
            command.args(["--set", s]);
        });
        ccnf_loader::common().iter().for_each(|p| {
            command.arg("--plugin").arg(&p.path);
        });
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |e| Error::io("start", &program, e);
        let mut child = command.spawn().map_err(failed)?;
        // The child reads its input to the end, which comes when this process is gone, however it went.
        let _alive = child.stdin.take();
        let output = child.wait_with_output().map_err(failed)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let out = text(&output.stdout);
        let to_the_end = out.ends_with(TO_THE_END);
        Ok(Done { status: output.status, to_the_end, out, err: text(&output.stderr).trim().to_owned() })
    }

    fn why(&self) -> String {
        match self.to_the_end {
            true => self.err.clone(),
            false => {
                format!("its process was ended before the check was done ({})\n{}", self.status, self.err)
            }
        }
    }
}

/// What a process of its own does.
fn here(args: &PluginCheckArgs, what: &str) -> Result<()> {
    end_when_orphaned();
    let plugins = ccnf_loader::load(&[PluginSource::File(args.file.clone())])?;
    let done = match what.split_once('/') {
        Some((kind, name)) => conformance::check(kind, name, &extra(&args.set, &[])?),
        None => {
            let components = plugins.iter().flat_map(|p| &p.components);
            print(&components.map(|(kind, name)| format!("{kind}/{name}\n")).collect::<String>())?;
            Ok(())
        }
    };
    print(TO_THE_END)?;
    done.map_err(|why| Error::new(ErrorKind::Contract, why))
}

/// The keys of `KIND/NAME.KEY=VALUE`, as `--set` of a run reads them. `components` are those that there are; empty: not asked.
fn extra(sets: &[String], components: &[String]) -> Result<Extra> {
    let mut of: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for set in sets {
        let bad = |what: String| {
            Error::new(ErrorKind::Usage, what).help("such as --set dataset/my-files.path=images")
        };
        let form = || bad(format!("`--set {set}` is not KIND/NAME.KEY=VALUE"));
        let (key, value) = set.split_once('=').ok_or_else(form)?;
        let (component, key) = key.split_once('.').filter(|(c, _)| c.contains('/')).ok_or_else(form)?;
        if !components.is_empty() && !components.iter().any(|c| c == component) {
            return Err(bad(format!(
                "`--set {set}`: the plugin brings no `{component}`, but {}",
                components.join(", ")
            )));
        }
        of.entry(component).or_default().push(format!("{key}={value}"));
    }
    of.into_iter().try_fold(Extra::default(), |extra, (component, sets)| {
        let keys = Config::sets_json(&sets).at(|| format!("`{component}`"))?;
        let (kind, name) = component.split_once('/').unwrap_or_default();
        Ok(extra.with(kind, name, keys))
    })
}
