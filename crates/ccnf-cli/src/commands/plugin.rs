//! `ccnf plugin`.

use super::json;
use crate::args::{
    PluginBuildArgs, PluginBundleArgs, PluginCheckArgs, PluginCommand, PluginListArgs, PluginNewArgs,
    PluginSdkArgs, PluginTestArgs,
};
use crate::exit::print;
use ccnf_core::{Error, ErrorKind, Result, list_all};
use ccnf_loader::PluginSource;
use ccnf_sdk::{Bundle, Collect, New, Sdk};
use ccnf_testkit::conformance::{self, Extra};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) fn plugin(command: &PluginCommand) -> Result<()> {
    match command {
        PluginCommand::New(a) => new(a),
        PluginCommand::Build(a) => build(a),
        PluginCommand::Test(a) => test(a),
        PluginCommand::Check(a) => check(a),
        PluginCommand::List(a) => list(a),
        PluginCommand::Sdk(a) => sdk(a),
        PluginCommand::Bundle(a) => bundle(a),
    }
}

fn new(args: &PluginNewArgs) -> Result<()> {
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    ccnf_sdk::new_plugin(&New { name: args.name.clone(), kinds: args.kind.clone(), out: out.clone() })?;
    let folder = out.display();
    print(&format!("made {folder}\nnext: cd {folder} && ccnf plugin test && ccnf plugin build\n"))
}

fn build(args: &PluginBuildArgs) -> Result<()> {
    let sdk = Sdk::find(args.sdk.sdk.as_deref())?;
    let built = ccnf_sdk::build(&sdk, &args.folder, !args.debug, &args.options)?;
    let lines =
        |before: &str| -> String { built.iter().map(|f| format!("{before} {}\n", f.display())).collect() };
    print(&(lines("built") + &lines("next: ccnf plugin check")))
}

fn test(args: &PluginTestArgs) -> Result<()> {
    ccnf_sdk::test(&Sdk::find(args.sdk.sdk.as_deref())?, &args.folder, &args.options)
}

fn sdk(args: &PluginSdkArgs) -> Result<()> {
    let p = &args.program;
    let options = Collect {
        source: p.source.clone(),
        out: args.out.clone(),
        release: !p.debug,
        features: p.features.clone(),
    };
    let sdk = ccnf_sdk::collect(&options)?;
    let folder = sdk.path().display();
    print(&format!(
        "made the SDK {folder} ({})\nits program loads plugins and builds them: {}\n",
        sdk.rustc(),
        sdk.program().display()
    ))
}

fn bundle(args: &PluginBundleArgs) -> Result<()> {
    let p = &args.program;
    let options = Bundle {
        plugins: args.plugins.clone(),
        source: p.source.clone(),
        out: args.out.clone(),
        release: !p.debug,
        features: p.features.clone(),
    };
    print(&format!("built {}\n", ccnf_sdk::bundle(&options)?.display()))
}

fn list(args: &PluginListArgs) -> Result<()> {
    let loaded = ccnf_loader::loaded();
    let of_plugin = |kind: &str, name: &str| loaded.iter().any(|p| p.components.contains(&(kind, name)));
    let mut linked: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for c in list_all().iter().filter(|c| !of_plugin(c.kind, c.name)) {
        linked
            .entry(format!("{} {}", c.krate, c.version))
            .or_default()
            .push(format!("{}/{}", c.kind, c.name));
    }
    if args.json {
        return print(&json(
            &serde_json::json!({ "loads_plugins": ccnf_loader::SUPPORTED, "loaded": loaded, "linked": linked }),
        ));
    }
    let mut text = String::new();
    for p in &loaded {
        let components: Vec<String> =
            p.components.iter().map(|(kind, name)| format!("{kind}/{name}")).collect();
        text += &format!(
            "{} {}, loaded from {}\n  sha256 {}\n  {}\n",
            p.name,
            p.version,
            p.path.display(),
            p.sha256,
            components.join(", ")
        );
    }
    for (krate, components) in &linked {
        text += &format!("{krate}, linked in\n  {}\n", components.join(", "));
    }
    text += match ccnf_loader::SUPPORTED {
        true => "\nmore are loaded with --plugin FILE, CCNF_PLUGINS, or [plugins] in a config\n",
        false => "\nthis program loads no plugins at run time: see ccnf plugin sdk and ccnf plugin bundle\n",
    };
    print(&text)
}

fn check(args: &PluginCheckArgs) -> Result<()> {
    let extra = extra(&args.set)?;
    if let Some(component) = &args.here {
        ccnf_loader::load(&[PluginSource::File(args.file.clone())])?;
        let (kind, name) = component.split_once('/').unwrap_or((component, ""));
        return conformance::check(kind, name, &extra).map_err(|why| Error::new(ErrorKind::Contract, why));
    }
    let file = ccnf_loader::inspect(&args.file, None)?;
    let mut text =
        format!("file, stamp and libraries of `{}` {} fit this program\n", file.name, file.version);
    let plugins = ccnf_loader::load(&[PluginSource::File(args.file.clone())])?;
    let components: Vec<String> =
        plugins.iter().flat_map(|p| &p.components).map(|(kind, name)| format!("{kind}/{name}")).collect();
    text += &format!("it is loaded and brings {}\nsha256 {}\n", components.join(", "), file.sha256);
    print(&text)?;
    let mut failed = vec![];
    for component in &components {
        // A process of its own: what Rust cannot catch, such as a failed allocation, ends only that one.
        match in_own_process(args, component)? {
            None => print(&format!("{component}: keeps the contract of its kind\n"))?,
            Some(why) => {
                print(&format!("{component}: FAILS\n  {}\n", why.replace('\n', "\n  ")))?;
                failed.push(component.clone());
            }
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Contract, format!("{} of {} components fail: {}", failed.len(), components.len(), failed.join(", ")))
            .help("what each does against its contract stands above; the contracts are in the documentation of the traits")),
    }
}

/// What is wrong with a component; `None` if nothing.
fn in_own_process(args: &PluginCheckArgs, component: &str) -> Result<Option<String>> {
    let program = std::env::current_exe().map_err(|e| Error::io("find", Path::new("this program"), e))?;
    let mut command = Command::new(&program);
    command.args(["plugin", "check"]).arg(&args.file).args(["--here", component]);
    args.set.iter().for_each(|s| {
        command.args(["--set", s]);
    });
    ccnf_loader::common().iter().for_each(|p| {
        command.arg("--plugin").arg(&p.path);
    });
    let done = command.output().map_err(|e| Error::io("start", &program, e))?;
    if done.status.success() {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    Ok(Some(match done.status.code() {
        Some(_) => said,
        None => format!("the check's process was ended ({}): {said}", done.status),
    }))
}

/// The keys of `KIND/NAME.KEY=VALUE`.
fn extra(sets: &[String]) -> Result<Extra> {
    sets.iter().try_fold(Extra::default(), |extra, set| {
        let bad = || {
            Error::new(ErrorKind::Usage, format!("`--set {set}` is not KIND/NAME.KEY=VALUE"))
                .help("such as --set dataset/my-files.path=images")
        };
        let (key, value) = set.split_once('=').ok_or_else(bad)?;
        let (of, key) = key.split_once('.').ok_or_else(bad)?;
        let (kind, name) = of.split_once('/').ok_or_else(bad)?;
        let value: serde_json::Value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        Ok(extra.with(kind, name, serde_json::json!({ key: value })))
    })
}
