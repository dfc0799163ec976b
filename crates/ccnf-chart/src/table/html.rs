//! Tables as HTML.

use super::{Cell, Spread, Table, Value};
use crate::number::{fixed, plain};
use crate::text::without_control;
use maud::{Markup, html};

impl Table {
    /// The table as an HTML fragment. Inside a [`Page`](crate::Page) its heads sort the rows.
    pub fn to_html(&self) -> String {
        self.markup(true).into_string()
    }

    /// `sortable` gives the heads buttons. What the columns and the "–" mean follows below the table.
    pub(crate) fn markup(&self, sortable: bool) -> Markup {
        let columns = self.all_columns();
        let caption = without_control(&self.caption);
        let rows: Vec<Vec<Cell>> = self.full_rows(columns.len()).collect();
        html! {
            div.table {
                div.scroll role="group" aria-label=[(!caption.is_empty()).then_some(&caption)] {
                    table.sortable[sortable] {
                        @if !caption.is_empty() { caption { (caption) } }
                        thead { tr {
                            @for column in &columns {
                                @let help = Some(without_control(&column.help)).filter(|h| !h.is_empty());
                                @let title = without_control(&column.title);
                                th scope="col" .num[column.numeric] aria-sort=[sortable.then_some("none")] {
                                    @if sortable {
                                        button type="button" title=[help] {
                                            (title)
                            @if title.is_empty() { span.hidden { "unnamed column" } }
                                        }
                                    } @else {
                                        span title=[help] { (title) }
                                    }
                                }
                            }
                        } }
                        tbody {
                            @for row in &rows {
                                tr { @for (j, cell) in row.iter().enumerate() { (cell_markup(cell, j == 0, columns[j].numeric)) } }
                            }
                            @if rows.is_empty() {
                                tr.empty { td colspan=(columns.len().max(1)) { "No rows" } }
                            }
                        }
                    }
                }
                (self.notes())
            }
        }
    }

    /// The columns' help and the reasons of undefined cells, for readers who have no tooltips.
    fn notes(&self) -> Markup {
        let helped: Vec<_> = self.columns.iter().filter(|c| !c.help.is_empty()).collect();
        let mut reasons: Vec<(&str, usize)> = vec![];
        for cell in self.rows.iter().flatten() {
            if let Value::Undefined(reason) = &cell.value {
                match reasons.iter_mut().find(|(r, _)| r == reason) {
                    Some((_, n)) => *n += 1,
                    None => reasons.push((reason, 1)),
                }
            }
        }
        html! {
            @if !helped.is_empty() || !reasons.is_empty() {
                details.notes {
                    summary {
                        @match (helped.is_empty(), reasons.is_empty()) {
                            (true, _) => "What “–” stands for",
                            (_, true) => "What the columns mean",
                            _ => "What the columns and “–” mean",
                        }
                    }
                    dl {
                        @for column in helped {
                            dt { (without_control(&column.title)) }
                            dd { (without_control(&column.help)) }
                        }
                        @if !reasons.is_empty() {
                            dt { "–" }
                            @for (reason, n) in reasons {
                                dd { (without_control(reason)) @if n > 1 { " (" (n) " cells)" } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn cell_markup(cell: &Cell, head: bool, numeric: bool) -> Markup {
    let value = cell.sort_value().map(plain);
    let undefined = matches!(cell.value, Value::Undefined(_));
    let value_text = html! {
        @match &cell.link {
            Some(address) => a href=(without_control(address)) { (value_markup(cell)) },
            None => (value_markup(cell)),
        }
        @if cell.best { span.hidden { " (best)" } }
    };
    let inner = html! {
        @if numeric { (value_text) } @else { div.words { (value_text) } }
    };
    html! {
        @if head {
            th scope="row" .num[numeric] .best[cell.best] data-value=[value] data-undefined[undefined] { (inner) }
        } @else {
            td .num[numeric] .best[cell.best] data-value=[value] data-undefined[undefined] { (inner) }
        }
    }
}

fn value_markup(cell: &Cell) -> Markup {
    html! {
        @match &cell.value {
            Value::Text(text) | Value::Shown { text, .. } => (without_control(text)),
            Value::Undefined(reason) => {
                span.undefined title=(without_control(reason)) {
                    "–" span.hidden { " undefined: " (without_control(reason)) }
                }
            }
            Value::Number { value, digits, spread } => {
                (fixed(*value, *digits))
                @match *spread {
                    Spread::None => {},
                    Spread::PlusMinus(s) => span.spread { " ± " (fixed(s, *digits)) },
                    Spread::Interval(low, high) => {
                        span.spread { " [" (fixed(low, *digits)) ", " (fixed(high, *digits)) "]" }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::nasty;
    use super::super::{Column, Table};

    #[test]
    fn html_escapes_everything_it_is_given() {
        let html = nasty().to_html();
        assert!(!html.contains("<script>") && html.contains("&lt;script&gt;"), "{html}");
        assert!(html.contains("title=\"Area under the curve &lt;of&gt; &quot;images&quot;.\""), "{html}");
        assert!(html.contains("out of memory &amp; &lt;time&gt;"));
    }

    #[test]
    fn cells_carry_what_sorting_needs() {
        let html = nasty().to_html();
        assert!(html.contains("data-value=\"0.93141\"") && html.contains("data-value=\"90\""), "{html}");
        assert!(html.contains("data-undefined") && !html.contains("NaN"));
        assert_eq!(html.matches("<button type=\"button\"").count(), 3);
        assert_eq!(html.matches("aria-sort=\"none\"").count(), 3);
    }

    #[test]
    fn an_undefined_cell_says_why_in_tooltip_text_and_notes() {
        let html = nasty().to_html();
        assert!(html.contains("<span class=\"undefined\" title=\"not a number\">–"), "{html}");
        assert!(html.contains("<dd>not a number</dd>"));
    }

    #[test]
    fn a_table_without_rows_says_so() {
        assert!(Table::new("t", [Column::text("a")]).to_html().contains("No rows"));
    }
}
