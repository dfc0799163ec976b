//! Charts as SVG.

mod axis;
mod frame;
mod heat;
mod interval;
mod labels;
mod legend;
mod line;
mod scale;
mod scatter;
mod series;
mod style;
mod svg;

pub use axis::Axis;
pub use heat::{ColorScale, HeatCell, HeatMap};
pub use interval::{IntervalChart, IntervalRow};
pub use line::LineChart;
pub use scatter::ScatterChart;
pub use series::{Point, Series};
pub use svg::Svg;

use crate::table::Table;

/// A chart: a drawing and the numbers behind it.
pub trait Chart {
    /// The drawing. A chart without anything to draw says "No data" and why.
    fn svg(&self) -> Svg;

    /// The numbers as a table, for readers who cannot see the drawing or want to go on with them.
    fn data(&self) -> Table;
}
