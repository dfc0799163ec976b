//! Tables as CSV (RFC 4180).

use super::{Spread, Table, Value};
use crate::number::plain;
use crate::text::without_control;

impl Table {
    /// The table as CSV with a header line, values as they are (not rounded, not decorated).
    ///
    /// An undefined value is an empty field. A column whose numbers have a spread is followed by `… ±`, one whose
    /// numbers have an interval by `… low` and `… high`.
    pub fn to_csv(&self) -> String {
        let columns = self.all_columns();
        if columns.is_empty() {
            return String::new();
        }
        let has = |j: usize, wanted: fn(&Spread) -> bool| {
            self.rows.iter().any(
                |row| matches!(row.get(j).map(|c| &c.value), Some(Value::Number { spread, .. }) if wanted(spread)),
            )
        };
        let spreads: Vec<(bool, bool)> = (0..columns.len())
            .map(|j| {
                (has(j, |s| matches!(s, Spread::PlusMinus(_))), has(j, |s| matches!(s, Spread::Interval(..))))
            })
            .collect();

        let mut writer =
            ::csv::WriterBuilder::new().terminator(::csv::Terminator::CRLF).from_writer(Vec::new());
        let mut header = vec![];
        for (column, &(plus_minus, interval)) in columns.iter().zip(&spreads) {
            let title = without_control(&column.title);
            header.push(title.clone());
            header.extend(plus_minus.then(|| format!("{title} ±")));
            header.extend(
                interval.then(|| [format!("{title} low"), format!("{title} high")]).into_iter().flatten(),
            );
        }
        let mut records = vec![header];
        for row in self.full_rows(columns.len()) {
            let mut record = vec![];
            for (cell, &(plus_minus, interval)) in row.iter().zip(&spreads) {
                let mut parts = [String::new(), String::new(), String::new()];
                let field = match &cell.value {
                    Value::Text(text) => without_control(text),
                    Value::Undefined(_) => String::new(),
                    Value::Shown { value, .. } => plain(*value),
                    Value::Number { value, spread, .. } => {
                        match *spread {
                            Spread::None => {}
                            Spread::PlusMinus(s) => parts[0] = plain(s),
                            Spread::Interval(low, high) => (parts[1], parts[2]) = (plain(low), plain(high)),
                        }
                        plain(*value)
                    }
                };
                let [spread, low, high] = parts;
                record.push(field);
                record.extend(plus_minus.then_some(spread));
                record.extend(interval.then_some([low, high]).into_iter().flatten());
            }
            records.push(record);
        }
        for record in &records {
            // records of one length, written to memory: neither can fail
            let _ = writer.write_record(record);
        }
        writer.into_inner().ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::nasty;
    use super::super::{Cell, Column, Table};

    #[test]
    fn csv_has_plain_values_and_reads_back() {
        let text = nasty().to_csv();
        let mut reader = ::csv::Reader::from_reader(text.as_bytes());
        let header: Vec<_> = reader.headers().unwrap().iter().map(String::from).collect();
        assert_eq!(header, ["Model | name", "AUROC", "AUROC ±", "AUROC low", "AUROC high", "Time"]);
        let rows: Vec<Vec<String>> =
            reader.records().map(|r| r.unwrap().iter().map(String::from).collect()).collect();
        assert_eq!(rows[0][1..], ["0.93141", "0.0123", "", "", "90"]);
        assert_eq!(rows[1], ["[x], \"y\"\nz", "-0.5", "", "-0.75", "0.1", ""]);
        assert_eq!(rows[2][1..], ["", "", "", "", ""]);
    }

    #[test]
    fn csv_follows_rfc_4180() {
        let mut table = Table::new("t", [Column::text("a"), Column::text("b, c")]);
        table.push(["say \"hi\"", "two\nlines"]);
        assert_eq!(table.to_csv(), "a,\"b, c\"\r\n\"say \"\"hi\"\"\",\"two\nlines\"\r\n");
    }

    #[test]
    fn an_empty_row_is_not_lost() {
        let mut table = Table::new("t", [Column::text("a")]);
        table.push(vec![Cell::undefined("none")]);
        assert_eq!(table.to_csv(), "a\r\n\"\"\r\n");
        assert_eq!(Table::default().to_csv(), "");
    }
}
