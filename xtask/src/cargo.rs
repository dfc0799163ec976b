//! Builds through `cargo`.

use crate::Result;
use ccnf::serde_json::{self, Value};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs `cargo build ARGUMENTS` in `folder` and returns the path of the executable called `name`.
pub(crate) fn build(
    folder: &Path,
    arguments: &[&str],
    name: &str,
    environment: &[(&str, &str)],
) -> Result<PathBuf> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--message-format=json"])
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(folder)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("`cargo build {}` failed: {}", arguments.join(" "), output.status).into());
    }
    executable(&String::from_utf8(output.stdout)?, name)
        .ok_or_else(|| format!("`cargo build {}` made no executable `{name}`", arguments.join(" ")).into())
}

/// The executable called `name` among cargo's messages.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages.filter(|m| m["target"]["name"] == name).find_map(|m| m["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_by_its_name() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"ccnf"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"other"},"executable":"/t/other"}
{"reason":"compiler-artifact","target":{"name":"ccnf"},"executable":"/t/release/ccnf"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "ccnf"), Some("/t/release/ccnf".into()));
        assert_eq!(executable(messages, "xtask"), None);
    }
}
