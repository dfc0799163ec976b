//! Tables as LaTeX.

use super::{Cell, Spread, Table, Value};
use crate::number::fixed_ascii;
use crate::text::one_line;

impl Table {
    /// The table as a `tabular` with the rules of the package booktabs. The best cells are bold; links are left out.
    pub fn to_latex(&self) -> String {
        let columns = self.all_columns();
        if columns.is_empty() {
            return String::new();
        }
        let align: String = columns.iter().map(|c| if c.numeric { 'r' } else { 'l' }).collect();
        let line = |cells: Vec<String>| format!("  {} \\\\\n", cells.join(" & "));
        let mut out = String::from("% needs \\usepackage{booktabs}\n");
        if !self.caption.is_empty() {
            out += &format!("% {}\n", one_line(&self.caption));
        }
        out += &format!("\\begin{{tabular}}{{{align}}}\n  \\toprule\n");
        out += &line(columns.iter().map(|c| escape(&c.title)).collect());
        out += "  \\midrule\n";
        out.extend(self.full_rows(columns.len()).map(|row| line(row.iter().map(cell).collect())));
        out += "  \\bottomrule\n\\end{tabular}\n";
        out
    }
}

fn cell(cell: &Cell) -> String {
    let text = match &cell.value {
        Value::Text(text) | Value::Shown { text, .. } => escape(text),
        Value::Undefined(_) => "--".into(),
        Value::Number { value, digits, spread } => {
            let n = |v: f64| number(v, *digits);
            match *spread {
                Spread::None => n(*value),
                Spread::PlusMinus(s) => format!("{} $\\pm$ {}", n(*value), n(s)),
                Spread::Interval(low, high) => format!("{} {{[}}{}, {}{{]}}", n(*value), n(low), n(high)),
            }
        }
    };
    if cell.best { format!("\\textbf{{{text}}}") } else { text }
}

/// Negative numbers and exponents need math mode for their signs.
fn number(value: f64, digits: usize) -> String {
    let ascii = fixed_ascii(value, digits);
    match ascii.split_once('e') {
        Some((mantissa, exponent)) => format!("${mantissa}\\times 10^{{{exponent}}}$"),
        None if ascii.starts_with('-') => format!("${ascii}$"),
        None => ascii,
    }
}

/// `text` so that LaTeX sets it as it is.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in one_line(text).chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', c]),
            '\\' => out += "\\textbackslash{}",
            '~' => out += "\\textasciitilde{}",
            '^' => out += "\\textasciicircum{}",
            '<' => out += "\\textless{}",
            '>' => out += "\\textgreater{}",
            '|' => out += "\\textbar{}",
            '"' => out += "\\textquotedbl{}",
            '`' => out += "\\textasciigrave{}",
            // after `\\` a bracket would be read as a length, a star as a variant
            '[' | ']' | '*' => out += &format!("{{{c}}}"),
            // two hyphens would become a dash
            '-' if out.ends_with('-') => out += "{}-",
            '±' => out += "$\\pm$",
            '×' => out += "$\\times$",
            '−' => out += "$-$",
            '→' => out += "$\\rightarrow$",
            '≤' => out += "$\\leq$",
            '≥' => out += "$\\geq$",
            '–' => out += "--",
            '—' => out += "---",
            '…' => out += "\\dots{}",
            '↑' => out += "$\\uparrow$",
            '↓' => out += "$\\downarrow$",
            '\u{a0}' | '\u{202f}' => out.push('~'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::nasty;
    use super::*;

    #[test]
    fn latex_escapes_every_special_character() {
        assert_eq!(escape(r"&%$#_{}"), r"\&\%\$\#\_\{\}");
        assert_eq!(escape(r"\~^"), r"\textbackslash{}\textasciitilde{}\textasciicircum{}");
        assert_eq!(escape("*[1]"), "{*}{[}1{]}");
        assert_eq!(escape("--seed"), "-{}-seed");
        assert_eq!(escape("---"), "-{}-{}-");
        assert_eq!(escape("1 ± 2 ≤ 3"), r"1 $\pm$ 2 $\leq$ 3");
    }

    #[test]
    fn latex_is_a_booktabs_tabular() {
        let text = nasty().to_latex();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2], r"\begin{tabular}{lrr}");
        assert_eq!(lines[3], r"  \toprule");
        assert_eq!(lines[4], r"  Model \textbar{} name & AUROC & Time \\");
        assert!(lines[6].contains(r"& \textbf{0.931 $\pm$ 0.012} & 1 min 30 s \\"), "{}", lines[6]);
        assert!(
            lines[7].starts_with("  {[}x{]}, ") && lines[7].contains("$-0.50$ {[}$-0.75$, 0.10{]} & -- \\\\")
        );
        assert_eq!(lines[8], r"  fail & -- & -- \\");
        assert_eq!(lines[9..], [r"  \bottomrule", r"\end{tabular}"]);
    }

    #[test]
    fn huge_numbers_use_powers_of_ten() {
        assert_eq!(number(1e300, 2), r"$1.000\times 10^{300}$");
    }
}
