//! Charts, tables and self-contained HTML pages: data in, text out.
//!
//! - [`Table`]: one set of cells, written as HTML (sortable), Markdown, CSV and LaTeX.
//! - [`LineChart`], [`IntervalChart`], [`HeatMap`], [`ScatterChart`]: inline SVG that follows the page's light
//!   or dark theme, and stand-alone `.svg` files ([`Svg::standalone`]).
//! - [`Page`]: sections, figures, galleries and provenance in one file that needs no network.
//!
//! Nothing here reads a clock, a random number or a hash map's order: the same input gives the same bytes.
//! No input panics. A value that is not a finite number is undefined; it is shown as "–" with its reason, and
//! never as 0.
//!
//! ```
//! use ccnf_chart::{Axis, Cell, Chart, Column, Figure, LineChart, Page, Series, Table};
//!
//! let tasks = ["bottle", "cable", "capsule"];
//! let chart = LineChart::new("Accuracy over tasks", Axis::categories("Task", tasks), Axis::new("Image AUROC"))
//!     .series(Series::over_index("fine-tune", [0.98, 0.91, 0.84]))
//!     .series(Series::over_index("patch-memory", [Some(0.97), None, Some(0.96)]));
//!
//! let mut table = Table::new("Leader board", [Column::text("Model"), Column::number("Image AUROC")]);
//! table.push([Cell::text("patch-memory"), Cell::number(0.965, 3).plus_minus(0.004).best()]);
//! table.push([Cell::text("fine-tune"), Cell::undefined("the run stopped after task 1")]);
//!
//! let mut page = Page::new("Two models, three classes");
//! let section = page.section("Results");
//! section.table(table.clone());
//! section.figure(Figure::new(&chart).caption("The mean over the classes seen so far."));
//!
//! assert!(page.to_html().starts_with("<!DOCTYPE html>"));
//! assert!(chart.svg().standalone().contains("<title>Accuracy over tasks</title>"));
//! assert!(table.to_markdown().contains("**0.965 ± 0.004**"));
//! ```

mod chart;
mod number;
mod page;
mod table;
mod text;
mod theme;

pub use chart::{
    Axis, Chart, ColorScale, HeatCell, HeatMap, IntervalChart, IntervalRow, LineChart, Point, ScatterChart,
    Series, Svg,
};
pub use page::{Blocks, Figure, Gallery, Image, ImageError, Page, Text};
pub use table::{Cell, Column, Table};
