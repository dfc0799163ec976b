//! `ccnf plugin`.

use super::json;
use crate::args::{
    PluginBuildArgs, PluginBundleArgs, PluginCommand, PluginListArgs, PluginNewArgs, PluginSdkArgs,
    PluginTestArgs,
};
use crate::exit::print;
use ccnf_core::{Result, list_all};
use ccnf_sdk::{Bundle, Collect, New, Sdk};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub(crate) fn plugin(command: &PluginCommand) -> Result<()> {
    match command {
        PluginCommand::New(a) => new(a),
        PluginCommand::Build(a) => build(a),
        PluginCommand::Test(a) => test(a),
        PluginCommand::Check(a) => super::plugin_check::check(a),
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
