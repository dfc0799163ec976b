//! Tables as GitHub-flavoured Markdown.

use super::Table;
use crate::text::one_line;

impl Table {
    /// The table as Markdown, its caption as a paragraph before it. The best cells are bold.
    pub fn to_markdown(&self) -> String {
        let columns = self.all_columns();
        if columns.is_empty() {
            return String::new();
        }
        let mut grid = vec![columns.iter().map(|c| escape(&c.title)).collect::<Vec<_>>()];
        grid.extend(self.full_rows(columns.len()).map(|row| {
            row.iter()
                .map(|cell| {
                    let mut text = escape(&cell.pretty());
                    if cell.best && !text.is_empty() {
                        text = format!("**{text}**");
                    }
                    match &cell.link {
                        Some(address) => format!("[{text}](<{}>)", escape_address(address)),
                        None => text,
                    }
                })
                .collect()
        }));
        let widths: Vec<usize> = (0..columns.len())
            .map(|j| grid.iter().map(|row| row[j].chars().count()).max().unwrap_or(0).max(3))
            .collect();

        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&columns).zip(&widths).map(|((text, column), &width)| {
                if column.numeric { format!("{text:>width$}") } else { format!("{text:<width$}") }
            });
            format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
        };
        let rule = columns.iter().zip(&widths).map(|(column, width)| {
            let dashes = "-".repeat(width - 1);
            if column.numeric { format!("{dashes}:") } else { format!("{dashes}-") }
        });

        let mut out = String::new();
        if !self.caption.is_empty() {
            out += &format!("{}\n\n", escape(&self.caption));
        }
        out += &line(&grid[0]);
        out += &format!("| {} |\n", rule.collect::<Vec<_>>().join(" | "));
        out.extend(grid[1..].iter().map(line));
        out
    }
}

/// `text` so that Markdown shows it as it is. An underscore within a word means nothing there and stays readable.
fn escape(text: &str) -> String {
    let text = one_line(text);
    let mut out = String::new();
    let mut previous = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let within_word = previous.is_alphanumeric() && rest.peek().is_some_and(|n| n.is_alphanumeric());
        match c {
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '&' => out += "&amp;",
            '\\' | '|' | '*' | '`' | '~' | '$' => out.extend(['\\', c]),
            // a lone bracket pair is a link only before "(" or with a definition; intervals stay readable
            ']' if matches!(rest.peek(), Some('(' | '[' | ':')) => out += "\\]",
            '_' if !within_word => out += "\\_",
            c => out.push(c),
        }
        previous = c;
    }
    out
}

fn escape_address(address: &str) -> String {
    address.replace('<', "%3C").replace('>', "%3E").replace('|', "%7C").replace(['\n', '\r'], "")
}

#[cfg(test)]
mod tests {
    use super::super::tests::nasty;
    use super::super::{Column, Table};

    #[test]
    fn markdown_escapes_and_aligns() {
        let text = nasty().to_markdown();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Results &amp; &lt;script&gt;alert(1)&lt;/script&gt;");
        assert!(lines[2].starts_with(r"| Model \| name "), "{}", lines[2]);
        assert!(lines[3].starts_with("| ---") && lines[3].ends_with("---: |"), "{}", lines[3]);
        assert!(
            lines[4].starts_with(r"| [a_b\*c\|d &amp; 100% #1 {x} \$5 \~^\\](<runs/a.html>) | "),
            "{}",
            lines[4]
        );
        assert!(lines[4].contains(" **0.931 ± 0.012** | "), "{}", lines[4]);
        assert!(lines[5].contains("-0.50 [-0.75, 0.10]"));
        assert_eq!(lines[6].matches(" – |").count(), 2);
        // every row has the same number of cells: no pipe got through
        let cells = |l: &str| l.replace(r"\|", "").matches('|').count();
        assert!(lines[2..].iter().all(|l| cells(l) == 4), "{text}");
        let widths: Vec<usize> = lines[2..].iter().map(|l| l.chars().count()).collect();
        assert!(widths.iter().all(|w| *w == widths[0]), "{widths:?}");
    }

    #[test]
    fn a_table_without_columns_is_no_table() {
        assert_eq!(Table::new("nothing", []).to_markdown(), "");
        assert_eq!(Table::new("", [Column::text("a")]).to_markdown(), "| a   |\n| --- |\n");
    }
}
