//! Text with code and links in it.

use crate::text::without_control;
use maud::{Markup, html};

/// A line of text. Text between backticks is set as code, as in the strings it is made from.
///
/// ```
/// use ccnf_chart::Text;
/// let text = Text::from("Made by `ccnf report` from ").link("these runs", "runs/index.html").then(".");
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Text(Vec<Part>);

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Plain(String),
    Code(String),
    Link { text: String, address: String },
}

impl Text {
    /// Adds text.
    pub fn then(mut self, text: impl Into<Text>) -> Self {
        self.0.extend(text.into().0);
        self
    }

    /// Adds a link. Only `http(s)` and relative addresses become links; others leave the plain text.
    pub fn link(mut self, text: impl Into<String>, address: impl Into<String>) -> Self {
        let (text, address) = (text.into(), address.into());
        self.0.push(if is_safe_link(&address) { Part::Link { text, address } } else { Part::Plain(text) });
        self
    }

    /// Whether there is nothing to show.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn markup(&self) -> Markup {
        html! {
            @for part in &self.0 {
                @match part {
                    Part::Plain(text) => (without_control(text)),
                    Part::Code(text) => code { (without_control(text)) },
                    Part::Link { text, address } => a href=(without_control(address)) { (without_control(text)) },
                }
            }
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        let pieces: Vec<&str> = text.split('`').collect();
        // a backtick without its partner is a backtick
        let paired = pieces.len() % 2 == 1;
        if !paired {
            return Text(vec![Part::Plain(text.to_string())]);
        }
        let part = |(i, s): (usize, &&str)| {
            if i % 2 == 1 { Part::Code(s.to_string()) } else { Part::Plain(s.to_string()) }
        };
        Text(pieces.iter().enumerate().filter(|(_, s)| !s.is_empty()).map(part).collect())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Text::from(text.as_str())
    }
}

/// Whether an address is relative, an anchor, or `http(s)`: others (`javascript:`, `data:`) could run code.
pub(crate) fn is_safe_link(address: &str) -> bool {
    let address = address.trim_start_matches(|c: char| c.is_whitespace() || c.is_control());
    let before_path = address.split(['/', '?', '#']).next().unwrap_or_default();
    match before_path.split_once(':') {
        None => !address.is_empty(),
        Some((scheme, _)) => scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backticks_make_code_if_they_pair() {
        assert_eq!(Text::from("run `a <b>` now").markup().0, "run <code>a &lt;b&gt;</code> now");
        assert_eq!(Text::from("one ` only").markup().0, "one ` only");
        assert!(Text::from("").is_empty());
    }

    #[test]
    fn only_harmless_addresses_become_links() {
        for good in ["a.html", "../x/y.svg", "#top", "https://example.org/?q=a:b", "./a:b.html", "dir/a:b"] {
            assert!(is_safe_link(good), "{good}");
        }
        for bad in [
            "javascript:alert(1)",
            " JavaScript:alert(1)",
            "\u{1}javascript:x",
            "data:text/html,x",
            "java\nscript:x",
            "",
        ] {
            assert!(!is_safe_link(bad), "{bad:?}");
        }
        assert_eq!(Text::default().link("x", "javascript:y").markup().0, "x");
        assert_eq!(Text::default().link("x", "y?a&b").markup().0, "<a href=\"y?a&amp;b\">x</a>");
    }
}
