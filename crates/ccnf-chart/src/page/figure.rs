//! A chart in a page.

use super::inline::Text;
use crate::chart::{Chart, Svg};
use crate::table::Table;
use maud::{Markup, html};

/// A chart with a caption; its numbers follow as a table that can be unfolded.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    svg: Svg,
    data: Option<Table>,
    caption: Text,
}

impl Figure {
    /// A figure of `chart`, under the chart's title.
    pub fn new(chart: &dyn Chart) -> Self {
        Figure { svg: chart.svg(), data: Some(chart.data()), caption: Text::default() }
    }

    /// Says what to see in it.
    pub fn caption(mut self, caption: impl Into<Text>) -> Self {
        self.caption = caption.into();
        self
    }

    /// Leaves out the table of the numbers, where the page has them already.
    pub fn without_data(mut self) -> Self {
        self.data = None;
        self
    }

    pub(crate) fn markup(&self) -> Markup {
        let title = self.svg.title();
        html! {
            figure {
                figcaption {
                    @if !title.is_empty() { strong { (title) } " " }
                    (self.caption.markup())
                }
                div.scroll role="group" aria-label={ "Chart: " (title) } { (self.svg.markup()) }
                @if let Some(data) = self.data.as_ref().filter(|d| !d.rows.is_empty()) {
                    details.data {
                        summary { "Numbers" span.hidden { " of the figure “" (title) "”" } }
                        (data.markup(true))
                    }
                }
            }
        }
    }
}
