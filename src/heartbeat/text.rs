//! Text from programs and from the network, made fit for a log line or a table cell.

/// The first line of `text` without control characters, no longer than `limit` characters; what is cut off
/// shows as an ellipsis.
pub(super) fn one_line(text: &str, limit: usize) -> String {
    let line = text.trim().lines().next().unwrap_or_default().trim_end();
    let mut characters =
        line.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).peekable();
    let mut shown: String = characters.by_ref().take(limit).collect();
    if characters.peek().is_some() {
        shown.pop();
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_line_is_taken_and_no_control_characters() {
        assert_eq!(one_line("\n  OK -\tall fine \r\nsecond", 80), "OK - all fine");
        assert_eq!(one_line("\x1b[31mred\x07\u{9b}", 80), "[31mred");
        assert_eq!(one_line("", 80), "");
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        assert_eq!(one_line("äöü", 3), "äöü");
        assert_eq!(one_line("äöüß", 3), "äö…");
        assert_eq!(one_line("ab", 0), "…");
    }
}
