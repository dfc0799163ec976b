//! What a section is made of.

use super::figure::Figure;
use super::gallery::Gallery;
use super::inline::Text;
use crate::table::Table;
use crate::text::{one_line, without_control};
use maud::{Markup, html};
use std::collections::BTreeSet;

/// The content of a section or of a folded part, in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Blocks(Vec<(Block, Blocks)>);

/// A block; `Details` and `Section` have the blocks beside them in [`Blocks`] as their content.
#[derive(Debug, Clone, PartialEq)]
enum Block {
    Paragraph(Text),
    Notice(Text),
    List(Vec<Text>),
    Facts(Vec<(String, Text)>),
    Code { caption: String, text: String },
    Table(Table),
    Figures(Vec<Figure>),
    Gallery(Gallery),
    Details(Text),
    Section(String),
}

impl Blocks {
    fn push(&mut self, block: Block) -> &mut Self {
        self.nested(block);
        self
    }

    fn nested(&mut self, block: Block) -> &mut Blocks {
        let at = self.0.len();
        self.0.push((block, Blocks::default()));
        &mut self.0[at].1
    }

    /// Adds a paragraph.
    pub fn paragraph(&mut self, text: impl Into<Text>) -> &mut Self {
        self.push(Block::Paragraph(text.into()))
    }

    /// Adds a paragraph that stands out: something the reader has to know before believing the numbers.
    pub fn notice(&mut self, text: impl Into<Text>) -> &mut Self {
        self.push(Block::Notice(text.into()))
    }

    /// Adds a list with bullets.
    pub fn list<T: Into<Text>>(&mut self, items: impl IntoIterator<Item = T>) -> &mut Self {
        self.push(Block::List(items.into_iter().map(Into::into).collect()))
    }

    /// Adds names with their values.
    pub fn facts<K: Into<String>, V: Into<Text>>(
        &mut self,
        facts: impl IntoIterator<Item = (K, V)>,
    ) -> &mut Self {
        self.push(Block::Facts(facts.into_iter().map(|(k, v)| (k.into(), v.into())).collect()))
    }

    /// Adds a block of code or output, with a caption unless that is empty.
    pub fn code(&mut self, caption: impl Into<String>, text: impl Into<String>) -> &mut Self {
        self.push(Block::Code { caption: caption.into(), text: text.into() })
    }

    /// Adds a table whose heads sort it.
    pub fn table(&mut self, table: Table) -> &mut Self {
        self.push(Block::Table(table))
    }

    /// Adds a figure.
    pub fn figure(&mut self, figure: Figure) -> &mut Self {
        self.push(Block::Figures(vec![figure]))
    }

    /// Adds figures side by side, as far as the page is wide enough.
    pub fn figures(&mut self, figures: impl IntoIterator<Item = Figure>) -> &mut Self {
        self.push(Block::Figures(figures.into_iter().collect()))
    }

    /// Adds a gallery of images.
    pub fn gallery(&mut self, gallery: Gallery) -> &mut Self {
        self.push(Block::Gallery(gallery))
    }

    /// Adds a folded part and returns it to be filled.
    pub fn details(&mut self, summary: impl Into<Text>) -> &mut Blocks {
        self.nested(Block::Details(summary.into()))
    }

    /// Adds a subsection and returns it to be filled.
    pub fn section(&mut self, title: impl Into<String>) -> &mut Blocks {
        self.nested(Block::Section(title.into()))
    }

    /// The content as a section with its heading; its anchor and those of its subsections go to `contents`.
    pub(crate) fn section_markup(
        &self,
        title: &str,
        level: usize,
        anchors: &mut Anchors,
        contents: &mut Vec<Entry>,
    ) -> Markup {
        let title = one_line(title);
        let anchor = anchors.new_anchor(&title);
        contents.push(Entry { level, title: title.clone(), anchor: anchor.clone() });
        let inner = self.markup(level, anchors, contents);
        html! {
            section aria-labelledby=(anchor) {
                @match level {
                    2 => h2 id=(anchor) { (title) },
                    3 => h3 id=(anchor) { (title) },
                    4 => h4 id=(anchor) { (title) },
                    5 => h5 id=(anchor) { (title) },
                    _ => h6 id=(anchor) { (title) },
                }
                (inner)
            }
        }
    }

    fn markup(&self, level: usize, anchors: &mut Anchors, contents: &mut Vec<Entry>) -> Markup {
        html! {
            @for (block, inner) in &self.0 {
                @match block {
                    Block::Paragraph(text) => p { (text.markup()) },
                    Block::Notice(text) => p.notice { (text.markup()) },
                    Block::List(items) => ul.list { @for item in items { li { (item.markup()) } } },
                    Block::Facts(pairs) => (facts(pairs)),
                    Block::Code { caption, text } => (code(caption, text)),
                    Block::Table(table) => (table.markup(true)),
                    Block::Figures(figures) if figures.len() == 1 => (figures[0].markup()),
                    Block::Figures(figures) => div.figures { @for figure in figures { (figure.markup()) } },
                    Block::Gallery(gallery) => (gallery.markup()),
                    Block::Details(summary) => details {
                        summary { (summary.markup()) }
                        (inner.markup(level, anchors, contents))
                    },
                    Block::Section(title) => (inner.section_markup(title, level + 1, anchors, contents)),
                }
            }
        }
    }
}

pub(crate) fn facts(pairs: &[(String, Text)]) -> Markup {
    html! {
        dl.facts { @for (name, value) in pairs { div { dt { (without_control(name)) } dd { (value.markup()) } } } }
    }
}

fn code(caption: &str, text: &str) -> Markup {
    let caption = without_control(caption);
    html! {
        figure.code {
            @if !caption.is_empty() { figcaption { (caption) } }
            pre.scroll role="group" aria-label=(if caption.is_empty() { "Code" } else { &caption }) { code { (without_control(text)) } }
        }
    }
}

/// A line of the table of contents.
pub(crate) struct Entry {
    pub(crate) level: usize,
    pub(crate) title: String,
    pub(crate) anchor: String,
}

/// The anchors given so far.
#[derive(Default)]
pub(crate) struct Anchors(BTreeSet<String>);

impl Anchors {
    /// The title in lower case with hyphens; numbered if taken.
    fn new_anchor(&mut self, title: &str) -> String {
        let mut slug = String::new();
        for c in title.to_lowercase().chars() {
            if c.is_alphanumeric() {
                slug.push(c);
            } else if !slug.is_empty() && !slug.ends_with('-') {
                slug.push('-');
            }
        }
        let slug = slug.trim_end_matches('-');
        // "main" and "theme" are the page's own
        let slug = if matches!(slug, "" | "main" | "theme") { "section" } else { slug };
        let numbered = (2..).map(|n| format!("{slug}-{n}"));
        let free = std::iter::once(slug.to_string())
            .chain(numbered)
            .find(|a| !self.0.contains(a))
            .unwrap_or_default();
        self.0.insert(free.clone());
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_readable_and_unique() {
        let mut a = Anchors::default();
        let made = ["Leader board", "Leader board", "Größe: Δ (%)", "!!!", "", "main", "Leader board 2"]
            .map(|t| a.new_anchor(t));
        assert_eq!(
            made,
            [
                "leader-board",
                "leader-board-2",
                "größe-δ",
                "section",
                "section-2",
                "section-3",
                "leader-board-2-2"
            ]
        );
    }

    #[test]
    fn headings_follow_the_nesting() {
        let mut blocks = Blocks::default();
        blocks.section("a").details("more").section("b").section("c");
        let html = blocks.section_markup("top", 2, &mut Anchors::default(), &mut vec![]).0;
        let order: Vec<usize> = (2..=5).map(|l| html.find(&format!("<h{l} ")).unwrap()).collect();
        assert!(order.is_sorted(), "{html}");
    }
}
