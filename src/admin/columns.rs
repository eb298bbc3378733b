//! Text in columns, for people. What came from elsewhere (an agent's reason, say) is stripped of control characters, so
//! that it cannot drive the terminal.

use time::OffsetDateTime;
use unicode_width::UnicodeWidthChar;

/// How text looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// States in colour (ANSI escape sequences).
    pub colour: bool,
    /// Columns of the terminal: less important columns are left out and the last one is cut to fit; `None`: nothing is.
    pub width: Option<usize>,
    /// Nothing beyond ASCII but what came from elsewhere.
    pub ascii: bool,
}

impl Style {
    /// What stands for what is left out.
    pub fn ellipsis(self) -> char {
        if self.ascii { '~' } else { '…' }
    }
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    title: &'static str,
    to_the_right: bool,
    /// Left out where no row has anything to say.
    is_optional: bool,
    /// The highest is the first to be left out for want of room; 0: never.
    dispensable: u8,
}

impl Column {
    /// Of words.
    pub const fn left(title: &'static str) -> Self {
        Self { title, to_the_right: false, is_optional: false, dispensable: 0 }
    }

    /// Of numbers.
    pub const fn right(title: &'static str) -> Self {
        Self { to_the_right: true, ..Self::left(title) }
    }

    /// The same, left out where no row has anything to say.
    pub const fn optional(self) -> Self {
        Self { is_optional: true, ..self }
    }

    /// The same, left out for want of room, the highest first.
    pub const fn dispensable(self, rank: u8) -> Self {
        Self { dispensable: rank, ..self }
    }
}

/// What stands in a column.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    colour: Option<Colour>,
}

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Bad.
    Red,
    /// Good.
    Green,
    /// Something else.
    Yellow,
}

impl Colour {
    /// The ANSI escape sequence that begins it.
    pub fn code(self) -> &'static str {
        match self {
            Self::Red => "\x1b[31m",
            Self::Green => "\x1b[32m",
            Self::Yellow => "\x1b[33m",
        }
    }
}

/// The ANSI escape sequence that ends colours.
pub const PLAIN: &str = "\x1b[0m";

/// What stands where nothing is known, or nothing is to be said.
pub const UNKNOWN: &str = "-";

impl Cell {
    /// Text in a colour.
    pub fn coloured(text: &str, colour: Colour) -> Self {
        Self { colour: Some(colour), ..text.to_owned().into() }
    }

    fn width(&self) -> usize {
        width(&self.text)
    }

    /// Writes as much as fits `shown` columns, with an ellipsis at the end if some is left out.
    fn push_to(&self, text: &mut String, shown: usize, style: Style) {
        let colour = self.colour.filter(|_| style.colour);
        text.push_str(colour.map_or("", Colour::code));
        text.push_str(&cut(&self.text, shown, style));
        text.push_str(colour.map_or("", |_| PLAIN));
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text: printable(&text), colour: None }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// Adds a table with an empty line before it; nothing if it has no rows.
pub fn push_table(text: &mut String, columns: &[Column], rows: Vec<Vec<Cell>>, style: Style) {
    if rows.is_empty() {
        return;
    }
    text.push('\n');
    let titles: Vec<_> = columns.iter().map(|column| Cell::from(column.title)).collect();
    let lines: Vec<Vec<Cell>> = std::iter::once(titles).chain(rows).collect();
    let layout = layout(columns, &lines, style);
    for line in &lines {
        let mut written = 0;
        for (at, (i, column, width)) in layout.iter().enumerate() {
            let Some(cell) = line.get(*i) else { continue };
            let last = at + 1 == layout.len();
            let room = style.width.map(|width| width.saturating_sub(written));
            let shown = match room {
                Some(room) if last => cell.width().min(room),
                _ => cell.width(),
            };
            let padding = width.saturating_sub(shown);
            if column.to_the_right {
                push_spaces(text, padding);
            }
            cell.push_to(text, shown, style);
            if !last {
                push_spaces(text, if column.to_the_right { GAP } else { padding + GAP });
                written += width + GAP;
            }
        }
        let end = text.trim_end_matches(' ').len();
        text.truncate(end);
        text.push('\n');
    }
}

const GAP: usize = 2;

/// How much of the last column there has to be room for, if it is that long.
const LAST_COLUMN: usize = 24;

/// The columns that are shown: which, what they are like, and how wide.
fn layout<'a>(columns: &'a [Column], lines: &[Vec<Cell>], style: Style) -> Vec<(usize, &'a Column, usize)> {
    let mut shown: Vec<_> = columns
        .iter()
        .enumerate()
        .filter(|(i, column)| {
            let mut cells = lines.iter().skip(1).filter_map(|row| row.get(*i));
            !column.is_optional || cells.any(|cell| cell.text != UNKNOWN && !cell.text.is_empty())
        })
        .map(|(i, column)| {
            let width = lines.iter().filter_map(|line| line.get(i)).map(Cell::width).max().unwrap_or(0);
            (i, column, width)
        })
        .collect();
    let Some(room) = style.width else { return shown };
    loop {
        let (last, others) = shown.split_last().map_or((0, 0), |((.., last), others)| {
            (*last, others.iter().map(|(.., width)| width + GAP).sum::<usize>())
        });
        let least = shown.iter().enumerate().max_by_key(|(at, (_, column, _))| (column.dispensable, *at));
        match least {
            Some((at, (_, column, _))) if others + last.min(LAST_COLUMN) > room && column.dispensable > 0 => {
                shown.remove(at);
            }
            _ => return shown,
        }
    }
}

/// How many columns of a terminal a text takes: an ideograph takes two, what is combined with the letter before it none
/// (Unicode Standard Annex 11).
pub fn width(text: &str) -> usize {
    text.chars().map(width_of).sum()
}

fn width_of(letter: char) -> usize {
    letter.width().unwrap_or(0)
}

/// As much of a text as fits so many columns, with an ellipsis at the end if some is left out.
pub fn cut(text: &str, most: usize, style: Style) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut used = 0;
    let fits = |letter: &char| {
        used += width_of(*letter);
        used < most
    };
    let kept: String = text.chars().take_while(fits).collect();
    kept + &style.ellipsis().to_string().repeat(most.min(1))
}

/// A text on lines of at most that many columns, broken at spaces, and where a word is longer.
pub fn wrapped(text: &str, most: usize) -> Vec<String> {
    let most = most.max(1);
    let (mut lines, mut line, mut used) = (Vec::new(), String::new(), 0);
    for word in text.split(' ') {
        if used > 0 && used + 1 + width(word) > most {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        for letter in word.chars() {
            if used > 0 && used + width_of(letter) > most {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(letter);
            used += width_of(letter);
        }
    }
    lines.push(line);
    lines
}

/// Without characters that do something to others: control characters, and those that turn the direction of writing.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || turns_others(c) { ' ' } else { c }).collect()
}

/// Unicode Standard Annex 9, and the separators of lines and paragraphs.
fn turns_others(c: char) -> bool {
    let marks = ['\u{61c}', '\u{200e}', '\u{200f}'];
    marks.contains(&c) || ('\u{2028}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c)
}

/// Whole seconds from one moment to a later one; 0 if it is earlier.
pub fn seconds_between(earlier: OffsetDateTime, later: OffsetDateTime) -> u64 {
    u64::try_from((later - earlier).whole_seconds()).unwrap_or(0)
}

/// Two units at most: 42s, 3m12s, 5h03m, 12d04h.
pub fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

fn push_spaces(text: &mut String, count: usize) {
    text.extend(std::iter::repeat_n(' ', count));
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 5] = [
        Column::left("NAME"),
        Column::right("ONE").dispensable(1),
        Column::right("TWO").dispensable(2),
        Column::left("NEVER").optional(),
        Column::left("WHY"),
    ];

    fn table(width: Option<usize>, ascii: bool) -> String {
        let row = |name: &str, one: &str, why: &str| {
            vec![name.into(), one.into(), "2".into(), UNKNOWN.into(), Cell::from(why)]
        };
        let mut text = String::new();
        let rows = vec![row("gw1", "100", ""), row("gateway", "7", "it is down: connection refused")];
        push_table(&mut text, &COLUMNS, rows, Style { colour: false, width, ascii });
        text
    }

    #[test]
    fn what_nobody_says_anything_in_is_left_out_and_numbers_stand_to_the_right() {
        let expected = "
NAME     ONE  TWO  WHY
gw1      100    2
gateway    7    2  it is down: connection refused
";
        assert_eq!(table(None, false), expected);
    }

    #[test]
    fn for_want_of_room_the_last_column_is_cut_and_then_others_are_left_out() {
        assert!(table(Some(44), false).ends_with("\ngateway    7    2  it is down: connection r…\n"));
        assert!(table(Some(42), true).ends_with("\ngateway    7  it is down: connection refu~\n"));
        assert!(table(Some(33), true).starts_with("\nNAME     WHY\n"));
        assert!(table(Some(12), true).ends_with("\ngateway  it~\n"), "what is left is cut");
        for width in 0..60 {
            let text = table(Some(width), false);
            let longest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(longest <= width.max(9), "{width}: {text}");
        }
    }

    #[test]
    fn a_text_is_broken_at_spaces_and_a_long_word_anywhere() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a connection", 4), ["a", "conn", "ecti", "on"]);
        assert_eq!(wrapped("", 4), [""]);
        assert_eq!(wrapped("ab", 0), ["a", "b"]);
    }

    #[test]
    fn what_takes_two_columns_is_counted_as_two_and_what_takes_none_as_none() {
        let plain = Style::default();
        assert_eq!((width("東京1"), width("e\u{301}"), width("\u{200b}")), (5, 1, 0));
        let most = |most: usize| cut("東京 is down", most, plain);
        assert_eq!([0, 1, 2, 3, 4, 5].map(most), ["", "…", "…", "東…", "東…", "東京…"]);
        assert_eq!(wrapped("東京は1号 is", 5), ["東京", "は1号", "is"]);
        assert_eq!(wrapped("東京", 1), ["東", "京"], "it cannot be narrower");
        let row = |name: &str| vec![name.into(), "1".into(), "2".into(), UNKNOWN.into(), Cell::from("why")];
        let mut text = String::new();
        push_table(&mut text, &COLUMNS, vec![row("東京"), row("gw1")], plain);
        assert_eq!(text, "\nNAME  ONE  TWO  WHY\n東京    1    2  why\ngw1     1    2  why\n");
    }

    #[test]
    fn what_would_drive_the_terminal_or_turn_the_text_round_is_left_out() {
        assert_eq!(printable("a\x1b[2J\u{9b}b\u{202e}c\u{2067}d\u{2028}é"), "a [2J b c d é");
    }

    #[test]
    fn an_age_has_two_units_at_most() {
        assert_eq!([0, 59, 192, 18_180, 1_051_200].map(age), ["0s", "59s", "3m12s", "5h03m", "12d04h"]);
    }
}
