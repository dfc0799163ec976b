//! Estimates of how wide a text is drawn, and texts cut or wrapped to a width.
//!
//! The page's font is the reader's system font, so no width is exact. The table holds the widths of DejaVu Sans,
//! one of the widest: a label that fits by it fits in the others.

/// Advance widths of ASCII 32..=126 in hundredths of the font size.
const ASCII: [u8; 95] = [
    32, 40, 46, 84, 64, 95, 78, 27, 39, 39, 50, 84, 32, 36, 32, 34, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    34, 34, 84, 84, 84, 53, 100, 68, 69, 70, 77, 63, 58, 77, 75, 29, 29, 66, 56, 86, 75, 79, 60, 79, 69, 63,
    61, 73, 68, 99, 69, 61, 69, 39, 34, 39, 84, 50, 50, 61, 63, 55, 63, 62, 35, 63, 63, 28, 28, 58, 28, 97,
    63, 61, 63, 63, 41, 52, 39, 63, 59, 82, 59, 59, 52, 64, 34, 64, 84,
];

fn char_width(c: char) -> f64 {
    let code = c as u32;
    match code {
        32..=126 => f64::from(ASCII[code as usize - 32]) / 100.0,
        // combining marks, joiners, variation selectors
        0x300..=0x36f | 0x200b..=0x200f | 0x2060..=0x2064 | 0xfe00..=0xfe0f => 0.0,
        0x2070..=0x209f | 0xb2 | 0xb3 | 0xb9 => 0.45,
        // East Asian wide, full-width forms, emoji
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xff00..=0xff60 => 1.05,
        0x1f000..=0x1faff | 0x20000..=0x3fffd => 1.4,
        _ if c.is_uppercase() => 0.95,
        _ => 0.8,
    }
}

/// The width of `text` at a font size, in pixels; seldom too small.
pub(crate) fn width(text: &str, size: f64) -> f64 {
    text.chars().map(char_width).sum::<f64>() * size
}

/// The width of the widest of `texts`.
pub(crate) fn widest<'a>(texts: impl IntoIterator<Item = &'a str>, size: f64) -> f64 {
    texts.into_iter().map(|t| width(t, size)).fold(0.0, f64::max)
}

/// `text` cut with "…" so that it is no wider than `room`.
pub(crate) fn fit(text: &str, size: f64, room: f64) -> String {
    if width(text, size) <= room {
        return text.to_string();
    }
    let room = room - width("…", size);
    let mut used = 0.0;
    let kept: String = text
        .chars()
        .take_while(|&c| {
            used += char_width(c) * size;
            used <= room
        })
        .collect();
    format!("{}…", kept.trim_end_matches([' ', '\u{200d}']))
}

/// `text` in lines no wider than `room`; a single word that is wider is cut.
pub(crate) fn wrap(text: &str, size: f64, room: f64) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    for word in text.split_whitespace() {
        if let Some(line) = lines.last_mut()
            && width(line, size) + width(" ", size) + width(word, size) <= room
        {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(fit(word, size, room));
        }
    }
    lines
}

/// `text` without the characters that neither XML nor HTML may hold (terminal escapes in a class name, say), and
/// without those that turn the direction of what follows.
pub(crate) fn without_control(text: &str) -> String {
    text.chars()
        .filter(|&c| matches!(c, '\n' | '\t' | '\r') || !c.is_control())
        .filter(
            |&c| !matches!(c, '\u{fffe}' | '\u{ffff}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'),
        )
        .collect()
}

/// `text` in one line: line breaks and tabs become spaces, other control characters go.
pub(crate) fn one_line(text: &str) -> String {
    without_control(text).split(['\n', '\r', '\t']).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_text_fits_and_ends_with_an_ellipsis() {
        let long = "a label that nobody would call short";
        let cut = fit(long, 12.0, 80.0);
        assert!(cut.ends_with('…') && width(&cut, 12.0) <= 80.0, "{cut}");
        assert_eq!(fit("short", 12.0, 80.0), "short");
        assert_eq!(fit("x", 12.0, 0.0), "…");
    }

    #[test]
    fn wrapped_lines_keep_every_word_and_fit() {
        let lines = wrap("one two three four five six", 10.0, 60.0);
        assert_eq!(lines.join(" "), "one two three four five six");
        assert!(lines.len() > 1 && lines.iter().all(|l| width(l, 10.0) <= 60.0));
        assert!(wrap("  ", 10.0, 60.0).is_empty());
    }

    #[test]
    fn wide_scripts_count_as_wide() {
        assert!(width("漢字", 10.0) > width("ab", 10.0));
        assert_eq!(width("e\u{301}", 10.0), width("e", 10.0));
    }

    #[test]
    fn control_characters_go_and_line_breaks_become_spaces() {
        assert_eq!(without_control("a\u{1b}[1mb\0\u{202e}\n"), "a[1mb\n");
        assert_eq!(one_line("a\nb\tc\u{7}"), "a b c");
    }
}
