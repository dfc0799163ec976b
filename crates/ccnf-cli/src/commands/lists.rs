//! `ccnf list`, `describe` and `schema`.

use super::json;
use crate::args::{DescribeArgs, ListArgs, SchemaArgs, SchemaKind};
use crate::exit::print;
use ccnf_core::{Error, ErrorKind, Listed, Result, did_you_mean, list_all};
use serde_json::Value;

pub(crate) fn list(args: &ListArgs) -> Result<()> {
    if args.kind.as_deref().is_some_and(|k| k == "protocols" || k == "protocol") {
        return protocols(args.json);
    }
    if args.kind.as_deref().is_some_and(|k| k == "models" || k == "model") {
        return models(args.json);
    }
    let all = list_all();
    let kinds: Vec<&str> = {
        let mut k: Vec<&str> = all.iter().map(|c| c.kind).collect();
        k.dedup();
        k
    };
    let chosen: Vec<&Listed> = match args.kind.as_deref() {
        None => all.iter().collect(),
        Some(k) => {
            let hits: Vec<&Listed> =
                all.iter().filter(|c| c.kind == k || format!("{}s", c.kind) == k).collect();
            if hits.is_empty() {
                let hint = did_you_mean(k, kinds.iter().copied())
                    .map(|g| format!(" (did you mean `{g}`?)"))
                    .unwrap_or_default();
                return Err(Error::new(
                    ErrorKind::Usage,
                    format!("no kind of component is called `{k}`{hint}"),
                )
                .help(format!("kinds: {}, protocols, models", kinds.join(", "))));
            }
            hits
        }
    };
    if args.json {
        return print(&json(&chosen));
    }
    let width = chosen.iter().map(|c| c.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    let mut last = "";
    for c in chosen {
        if c.kind != last {
            text += &format!("{}{}\n", if last.is_empty() { "" } else { "\n" }, c.kind);
            last = c.kind;
        }
        text += &format!("  {:width$}  {}\n", c.name, c.doc);
    }
    print(&text)
}

/// The built-in model configs with the first line of their comment.
fn models(as_json: bool) -> Result<()> {
    let all = ccnf_suite::models().iter().map(|(name, text)| {
        let about = text.lines().next().unwrap_or_default().trim_start_matches('#').trim();
        (*name, about)
    });
    if as_json {
        return print(&json(&all.collect::<std::collections::BTreeMap<_, _>>()));
    }
    let width = ccnf_suite::models().iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    print(&all.map(|(name, about)| format!("{name:width$}  {about}\n")).collect::<String>())
}

fn protocols(as_json: bool) -> Result<()> {
    let all = ccnf_engine::presets();
    if as_json {
        let map: std::collections::BTreeMap<_, _> = all.into_iter().collect();
        return print(&json(&map));
    }
    let line = |(name, tasks): (&str, Vec<Vec<String>>)| {
        let tasks: Vec<String> = tasks.iter().map(|t| t.join(", ")).collect();
        format!("{name:14} {}\n", tasks.join(" | "))
    };
    print(&all.into_iter().map(line).collect::<String>())
}

pub(crate) fn describe(args: &DescribeArgs) -> Result<()> {
    let all = list_all();
    let (kind, name) = match args.name.split_once('/') {
        Some((k, n)) => (Some(k), n),
        None => (None, args.name.as_str()),
    };
    let hits: Vec<&Listed> =
        all.iter().filter(|c| c.name == name && kind.is_none_or(|k| c.kind == k)).collect();
    match hits.as_slice() {
        [] => {
            let hint = did_you_mean(name, all.iter().map(|c| c.name))
                .map(|g| format!(" (did you mean `{g}`?)"))
                .unwrap_or_default();
            Err(Error::new(
                ErrorKind::UnknownComponent,
                format!("no component is called `{}`{hint}", args.name),
            )
            .help("`ccnf list` shows all of them"))
        }
        [one] if args.json => print(&json(one)),
        many if args.json => print(&json(&many)),
        many => print(&many.iter().map(|c| page(c)).collect::<Vec<_>>().join("\n")),
    }
}

fn page(c: &Listed) -> String {
    let mut text = format!("{} `{}`: {}\nfrom {} {}\n\nkeys:\n", c.kind, c.name, c.doc, c.krate, c.version);
    let keys = c.schema.get("properties").and_then(Value::as_object);
    match keys.filter(|k| !k.is_empty()) {
        None => text += "  none\n",
        Some(keys) => {
            for (key, schema) in keys {
                let default = c.example.get(key).map(Value::to_string).unwrap_or_default();
                text += &format!("  {key} = {default}\n");
                if let Some(doc) = schema.get("description").and_then(Value::as_str) {
                    text += &format!("      {}\n", doc.replace('\n', " "));
                }
            }
        }
    }
    text
}

pub(crate) fn schema(args: &SchemaArgs) -> Result<()> {
    print(&json(&match args.what {
        SchemaKind::Config => ccnf_engine::config_schema(),
        SchemaKind::Metrics => ccnf_engine::metrics_schema(),
        SchemaKind::Results => ccnf_suite::results_schema(),
        SchemaKind::Suite => ccnf_suite::suite_schema(),
    }))
}
