//! Documents of which a part is written by a task.

use crate::Result;

/// Replaces what stands between the two marks of the document called `name`; the rest is written by hand.
pub(crate) fn updated(name: &str, document: &str, marks: [&str; 2], part: &str) -> Result<String> {
    let begin = document.find(marks[0]).map(|i| i + marks[0].len());
    match (begin, document.find(marks[1])) {
        (Some(begin), Some(end)) if begin <= end => Ok([&document[..begin], part, &document[end..]].concat()),
        _ => Err(format!("{name} has no place for what was measured: {marks:?}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_marked_part_is_replaced() {
        let marks = ["<!-- from -->\n", "<!-- to -->"];
        let document = format!("before\n{}old{}after", marks[0], marks[1]);
        let expected = format!("before\n{}new{}after", marks[0], marks[1]);
        assert_eq!(updated("d", &document, marks, "new").unwrap(), expected);
        assert!(updated("d", "without marks", marks, "new").is_err());
    }
}
