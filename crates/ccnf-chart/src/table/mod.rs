//! Tables and the forms they are written in.

mod cell;
mod csv;
mod html;
mod latex;
mod markdown;

pub use cell::Cell;
pub(crate) use cell::{Spread, Value};

/// A table with a caption, named columns and rows of [`Cell`]s.
///
/// A row may be shorter than the columns (the rest is undefined) or longer (the further columns have no title).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// What the table shows.
    pub caption: String,
    /// The columns, left to right. The first one names the row.
    pub columns: Vec<Column>,
    /// The rows, top to bottom.
    pub rows: Vec<Vec<Cell>>,
}

/// The head of a column.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Column {
    /// The title in the head.
    pub title: String,
    /// What the column means; empty for none. Shown as a tooltip and in the notes below the table.
    pub help: String,
    /// Whether the cells are numbers, which are set to the right.
    pub numeric: bool,
}

impl Column {
    /// A column of texts.
    pub fn text(title: impl Into<String>) -> Self {
        Column { title: title.into(), ..Column::default() }
    }

    /// A column of numbers.
    pub fn number(title: impl Into<String>) -> Self {
        Column { title: title.into(), numeric: true, ..Column::default() }
    }

    /// Says what the column means.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }
}

impl Table {
    /// A table without rows.
    pub fn new(caption: impl Into<String>, columns: impl IntoIterator<Item = Column>) -> Self {
        Table { caption: caption.into(), columns: columns.into_iter().collect(), rows: vec![] }
    }

    /// Adds a row.
    pub fn push<C: Into<Cell>>(&mut self, row: impl IntoIterator<Item = C>) -> &mut Self {
        self.rows.push(row.into_iter().map(Into::into).collect());
        self
    }

    /// The columns and as many unnamed ones as the longest row needs.
    pub(crate) fn all_columns(&self) -> Vec<Column> {
        let longest = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut columns = self.columns.clone();
        columns.resize(longest.max(columns.len()), Column::default());
        columns
    }

    /// The rows, every one filled up to `width` cells.
    pub(crate) fn full_rows(&self, width: usize) -> impl Iterator<Item = Vec<Cell>> {
        self.rows.iter().map(move |row| {
            let mut row = row.clone();
            row.resize(width, Cell::undefined("no value"));
            row
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A table with everything that needs escaping.
    pub(crate) fn nasty() -> Table {
        let columns = [
            Column::text("Model | name"),
            Column::number("AUROC").help("Area under the curve <of> \"images\"."),
            Column::number("Time"),
        ];
        let mut table = Table::new("Results & <script>alert(1)</script>", columns);
        table.push([
            Cell::text("a_b*c|d & 100% #1 {x} $5 ~^\\").link("runs/a.html"),
            Cell::number(0.93141, 3).plus_minus(0.0123).best(),
            Cell::shown(90.0, "1 min 30 s"),
        ]);
        table.push([Cell::text("[x], \"y\"\nz"), Cell::number(-0.5, 2).interval(-0.75, 0.1)]);
        table.push([
            Cell::text("fail"),
            Cell::number(f64::NAN, 3),
            Cell::undefined("out of memory & <time>"),
        ]);
        table
    }

    #[test]
    fn short_rows_are_filled_and_long_rows_lose_nothing() {
        let mut table = Table::new("t", [Column::text("a")]);
        table.push(["x", "extra"]).push(Vec::<Cell>::new());
        assert_eq!(table.all_columns().len(), 2);
        let rows: Vec<_> = table.full_rows(2).collect();
        assert_eq!(rows[0][1], Cell::text("extra"));
        assert_eq!(rows[1], vec![Cell::undefined("no value"); 2]);
    }

    #[test]
    fn what_is_not_finite_is_undefined_and_says_why() {
        for (v, why) in
            [(f64::NAN, "not a number"), (f64::INFINITY, "infinite"), (f64::NEG_INFINITY, "infinite")]
        {
            assert_eq!(Cell::number(v, 2), Cell::undefined(why));
            assert_eq!(Cell::shown(v, "text"), Cell::undefined(why));
        }
        assert_eq!(Cell::number_or(None, 2, "no seed"), Cell::undefined("no seed"));
        assert_eq!(Cell::number(0.5, 1).plus_minus(f64::NAN), Cell::number(0.5, 1));
    }

    #[test]
    fn a_link_that_could_run_code_is_dropped() {
        assert_eq!(Cell::text("x").link("javascript:alert(1)"), Cell::text("x"));
        assert_ne!(Cell::text("x").link("https://example.org/"), Cell::text("x"));
    }
}
