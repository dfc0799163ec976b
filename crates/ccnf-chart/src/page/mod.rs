//! Self-contained HTML pages.

mod blocks;
mod figure;
mod gallery;
mod inline;

pub use blocks::Blocks;
pub use figure::Figure;
pub use gallery::{Gallery, Image, ImageError};
pub use inline::Text;
pub(crate) use inline::is_safe_link;

use crate::text::{one_line, without_control};
use crate::theme;
use blocks::Anchors;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
/// Nothing is loaded from anywhere: images are data, style and script are part of the page.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      base-uri 'none'; form-action 'none'";

/// A page in one file: title, lead, sections with a table of contents, and provenance at the foot.
///
/// It follows the reader's light or dark setting, prints, reads on a phone, and works without JavaScript (sorting and
/// the theme button are lost then).
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    title: String,
    lead: Vec<Text>,
    sections: Vec<(String, Blocks)>,
    provenance: Vec<(String, Text)>,
}

impl Page {
    /// An empty page.
    pub fn new(title: impl Into<String>) -> Self {
        Page { title: title.into(), lead: vec![], sections: vec![], provenance: vec![] }
    }

    /// Adds a paragraph below the title.
    pub fn lead(&mut self, text: impl Into<Text>) -> &mut Self {
        self.lead.push(text.into());
        self
    }

    /// Adds a section and returns it to be filled. Its anchor is its title in lower case with hyphens.
    pub fn section(&mut self, title: impl Into<String>) -> &mut Blocks {
        self.sections.push((title.into(), Blocks::default()));
        let last = self.sections.len() - 1;
        &mut self.sections[last].1
    }

    /// Adds facts to the foot of the page: what made it, from what, when.
    pub fn provenance<K: Into<String>, V: Into<Text>>(
        &mut self,
        facts: impl IntoIterator<Item = (K, V)>,
    ) -> &mut Self {
        self.provenance.extend(facts.into_iter().map(|(k, v)| (k.into(), v.into())));
        self
    }

    /// The page as HTML.
    pub fn to_html(&self) -> String {
        let mut anchors = Anchors::default();
        let mut contents = vec![];
        let sections: Vec<Markup> = self
            .sections
            .iter()
            .map(|(title, blocks)| blocks.section_markup(title, 2, &mut anchors, &mut contents))
            .collect();
        let title = one_line(&self.title);
        let body = html! {
            a.skip href="#main" { "Skip to the content" }
            header {
                div {
                    h1 { (title) }
                    @for text in &self.lead { p.lead { (text.markup()) } }
                }
                button #theme type="button" hidden { "Dark theme" }
            }
            div.layout {
                @if contents.len() > 1 {
                    nav aria-label="Contents" {
                        // the page's own list: one level of subsections
                        ol {
                            @for (i, entry) in contents.iter().enumerate().filter(|(_, e)| e.level == 2) {
                                li {
                                    a href={ "#" (entry.anchor) } { (entry.title) }
                                    @let under: Vec<_> =
                                        contents[i + 1..].iter().take_while(|e| e.level > 2).filter(|e| e.level == 3).collect();
                                    @if !under.is_empty() {
                                        ol { @for e in under { li { a href={ "#" (e.anchor) } { (e.title) } } } }
                                    }
                                }
                            }
                        }
                    }
                }
                main #main tabindex="-1" { @for section in &sections { (section) } }
            }
            @if !self.provenance.is_empty() {
                footer {
                    h2.small { "How this page was made" }
                    (blocks::facts(&self.provenance))
                }
            }
        };
        let body = without_control(&body.0);
        let colours = theme::page_css(&format!("{STYLE}{body}"));
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (title) }
                    style { (PreEscaped(colours)) (PreEscaped(STYLE)) }
                }
                body {
                    (PreEscaped(body))
                    script { (PreEscaped(SCRIPT)) }
                }
            }
        };
        page.into_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cell, Column, Table};

    fn page() -> Page {
        let mut page = Page::new("A <b>page</b>");
        page.lead("Two & three.");
        let s = page.section("Same title");
        s.paragraph("x");
        s.section("Sub");
        page.section("Same title").code("", "<script>");
        page.provenance([("made by", "a test")]);
        page
    }

    #[test]
    fn everything_given_is_escaped() {
        let html = page().to_html();
        assert!(
            html.contains("<h1>A &lt;b&gt;page&lt;/b&gt;</h1>") && html.contains("<title>A &lt;b&gt;page"),
            "{html}"
        );
        assert!(html.contains("<code>&lt;script&gt;</code>"));
    }

    #[test]
    fn anchors_are_unique_and_in_the_contents() {
        let html = page().to_html();
        for anchor in ["same-title", "sub", "same-title-2"] {
            assert_eq!(html.matches(&format!("id=\"{anchor}\"")).count(), 1, "{anchor}");
            assert_eq!(html.matches(&format!("href=\"#{anchor}\"")).count(), 1, "{anchor}");
        }
    }

    #[test]
    fn the_page_loads_nothing_and_says_so() {
        let html = page().to_html();
        assert!(html.contains("default-src 'none'"));
        assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("src="), "{html}");
    }

    #[test]
    fn style_and_script_cannot_end_their_element() {
        assert!(!STYLE.contains("</") && !SCRIPT.contains("</"));
    }

    #[test]
    fn every_colour_of_the_style_sheet_is_declared() {
        let css = theme::page_css(STYLE);
        for rest in STYLE.split("var(--").skip(1) {
            let name = rest.split([',', ')']).next().unwrap();
            assert!(css.contains(&format!("--{name}:")), "--{name}");
        }
    }

    #[test]
    fn the_same_page_gives_the_same_bytes() {
        let make = || {
            let mut p = page();
            let mut t = Table::new("t", [Column::text("a")]);
            t.push([Cell::undefined("r")]);
            p.section("T").table(t);
            p.to_html()
        };
        assert_eq!(make(), make());
    }
}
