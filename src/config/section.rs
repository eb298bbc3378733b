//! Reading a table key by key, so that every problem of a file is found at once.

use std::cell::RefCell;
use std::time::Duration;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problems, Span};
use super::schema::{Table, Value};
use super::units;

/// One table of a file. What its schema says of a key holds: ranges, and which keys there are at all;
/// [`finish`](Self::finish) complains about all others.
pub struct Section<'a> {
    /// What it is called in messages: `[listener.limits]`.
    pub title: &'static str,
    schema: &'static Table,
    /// Where it begins.
    pub span: Span,
    table: &'a DeTable<'a>,
    /// Those that the reader has asked for.
    asked: RefCell<Vec<&'static str>>,
    problems: &'a Problems<'a>,
}

impl<'a> Section<'a> {
    /// The file itself: the table that has no header.
    pub fn root(schema: &'static Table, table: &'a Spanned<DeTable<'a>>, problems: &'a Problems<'a>) -> Self {
        Self::new(schema, table.span(), table.get_ref(), problems)
    }

    fn new(schema: &'static Table, span: Span, table: &'a DeTable<'a>, problems: &'a Problems<'a>) -> Self {
        Self { title: schema.title, schema, span, table, asked: RefCell::default(), problems }
    }

    /// Notes an error at this table's head.
    pub fn error(&self, message: impl Into<String>) {
        self.problems.error(&self.span, message);
    }

    /// Notes an error at a place.
    pub fn error_at(&self, span: &Span, message: impl Into<String>) {
        self.problems.error(span, message);
    }

    /// Notes a warning at a place.
    pub fn warning_at(&self, span: &Span, message: impl Into<String>) {
        self.problems.warning(span, message);
    }

    /// A text.
    pub fn text(&self, key: &'static str) -> Option<Spanned<String>> {
        self.schema.expect(key, |value| matches!(value, Value::Text(_)));
        self.any_text(key)
    }

    fn any_text(&self, key: &'static str) -> Option<Spanned<String>> {
        let value = self.get(key)?;
        match value.get_ref().as_str() {
            Some(text) => Some(Spanned::new(value.span(), text.to_owned())),
            None => self.wrong_type(key, value, "a text in quotes"),
        }
    }

    /// A text that is there and not empty.
    pub fn required_text(&self, key: &'static str) -> Option<Spanned<String>> {
        if !self.has(key) {
            self.schema.expect(key, |value| matches!(value, Value::Text(_)));
            self.ask(key);
            self.error(format!("missing key '{key}' in {}", self.title));
            return None;
        }
        let text = self.text(key)?;
        if text.get_ref().trim().is_empty() {
            self.problems.error(&text.span(), format!("'{key}' must not be empty"));
            return None;
        }
        Some(text)
    }

    /// A name that stands in logs, metrics and URLs.
    pub fn required_name(&self, key: &'static str) -> Option<Spanned<String>> {
        let name = self.required_text(key)?;
        self.check_name(key, name)
    }

    /// The same where the key may be missing.
    pub fn name(&self, key: &'static str) -> Option<Spanned<String>> {
        let name = self.text(key)?;
        self.check_name(key, name)
    }

    fn check_name(&self, key: &str, name: Spanned<String>) -> Option<Spanned<String>> {
        let text = name.get_ref();
        if text == "." || text == ".." {
            // browsers go up by it, however it is written (URL Standard §4.4)
            self.problems.error(
                &name.span(),
                format!("'{key}' cannot be '{text}', which no URL can have in its path"),
            );
            return None;
        }
        let fits = (1..=64).contains(&text.chars().count()) && text.trim() == text;
        if fits && !text.chars().any(|c| c.is_control() || c == '/' || c == '"') {
            return Some(name);
        }
        let message =
            format!("'{key}' must have 1 to 64 characters, none of them '/', '\"' or a control character");
        self.problems.error(&name.span(), message);
        None
    }

    /// A text that `parse` understands. The error names the key.
    pub fn parsed<T, E: std::fmt::Display>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Spanned<T>> {
        let text = self.text(key)?;
        self.parse(key, text, parse)
    }

    /// The same where the key must be there.
    pub fn required_parsed<T, E: std::fmt::Display>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Spanned<T>> {
        let text = self.required_text(key)?;
        self.parse(key, text, parse)
    }

    /// A truth value.
    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        self.schema.expect(key, |value| matches!(value, Value::Boolean));
        let value = self.get(key)?;
        match value.get_ref().as_bool() {
            Some(truth) => Some(truth),
            None => self.wrong_type(key, value, "true or false"),
        }
    }

    /// A whole number.
    pub fn integer(&self, key: &'static str) -> Option<Spanned<i64>> {
        let range = self.schema.integers(key);
        let value = self.get(key)?;
        let Some(number) = value.get_ref().as_integer() else {
            return self.wrong_type(key, value, "a whole number");
        };
        let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
        match number.filter(|n| range.contains(n)) {
            Some(number) => Some(Spanned::new(value.span(), number)),
            None => {
                let (first, last) = (range.start(), range.end());
                self.problems.error(&value.span(), format!("'{key}' must be from {first} to {last}"));
                None
            }
        }
    }

    /// A number, whole or not.
    pub fn number(&self, key: &'static str) -> Option<Spanned<f64>> {
        self.schema.expect(key, |value| matches!(value, Value::Number));
        let value = self.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix()).ok().map(|n| n as f64),
            DeValue::Float(n) => n.as_str().parse().ok(),
            _ => None,
        };
        match number {
            Some(number) => Some(Spanned::new(value.span(), number)),
            None => self.wrong_type(key, value, "a number"),
        }
    }

    /// A duration.
    pub fn duration(&self, key: &'static str) -> Option<Spanned<Duration>> {
        let range = self.schema.durations(key);
        let text = self.any_text(key)?;
        let duration = self.parse(key, text, units::duration)?;
        if range.contains(duration.get_ref()) {
            return Some(duration);
        }
        let (first, last) = (range.start(), range.end());
        self.problems.error(&duration.span(), format!("'{key}' must be from {first:?} to {last:?}"));
        None
    }

    /// A word out of a closed set.
    pub fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let said = |value: &Value| matches!(value, Value::Word(said) if said.iter().eq(words.iter().map(|(word, _)| word)));
        self.schema.expect(key, said);
        let text = self.any_text(key)?;
        let word = text.get_ref().as_str();
        if let Some((_, value)) = words.iter().find(|(known, _)| *known == word) {
            return Some(*value);
        }
        let all = words.iter().map(|(known, _)| format!("'{known}'")).collect::<Vec<_>>().join(", ");
        self.problems.error(&text.span(), format!("'{key}' cannot be '{word}'; it is one of {all}"));
        None
    }

    /// A list of texts.
    pub fn texts(&self, key: &'static str) -> Option<Vec<Spanned<String>>> {
        self.schema.expect(key, |value| matches!(value, Value::Texts(_)));
        let value = self.get(key)?;
        let Some(array) = value.get_ref().as_array() else {
            return self.wrong_type(key, value, "a list of texts");
        };
        let texts = array.iter().map(|item| match item.get_ref().as_str() {
            Some(text) => Some(Spanned::new(item.span(), text.to_owned())),
            None => self.wrong_type(key, item, "a text in quotes"),
        });
        Some(texts.collect::<Vec<_>>().into_iter().flatten().collect())
    }

    /// A list of texts, each of which `parse` understands. The error names the key.
    pub fn parsed_list<T, E: std::fmt::Display>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<Spanned<T>>> {
        let texts = self.texts(key)?;
        Some(texts.into_iter().filter_map(|text| self.parse(key, text, &parse)).collect())
    }

    /// A table of its own.
    pub fn section(&self, key: &'static str) -> Option<Self> {
        let schema = self.schema.table(key);
        let value = self.get(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some(Self::new(schema, value.span(), table, self.problems)),
            None => self.wrong_type(key, value, "a table"),
        }
    }

    /// A list of tables; empty if the key is missing.
    pub fn sections(&self, key: &'static str) -> Vec<Self> {
        let schema = self.schema.table(key);
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type::<()>(key, value, &format!("a list of tables; write {}", schema.title));
            return Vec::new();
        };
        let tables = array.iter().filter_map(|item| match item.get_ref().as_table() {
            Some(table) => Some(Self::new(schema, item.span(), table, self.problems)),
            None => self.wrong_type(key, item, "a table"),
        });
        tables.collect()
    }

    /// Whether the key is there, right or wrong.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where what the key is set to stands; where the key is missing, this table's head.
    pub fn place(&self, key: &str) -> Span {
        self.table.get(key).map_or_else(|| self.span.clone(), Spanned::span)
    }

    /// Whether the key is there with a list of nothing.
    pub fn is_empty_list(&self, key: &str) -> bool {
        let list = self.table.get(key).and_then(|value| value.get_ref().as_array());
        list.is_some_and(|list| list.is_empty())
    }

    /// Complains about every key that its schema does not know.
    pub fn finish(self) {
        let known: Vec<_> = self.schema.keys.iter().map(|key| key.name).collect();
        debug_assert!(
            known.iter().all(|key| self.asked.borrow().contains(key)),
            "{} has keys that nobody reads: {:?} were asked for",
            self.schema.header,
            self.asked.borrow()
        );
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let hint = match nearest(name, &known) {
                Some(near) => format!("; did you mean '{near}'?"),
                None => String::new(),
            };
            self.problems.error(&key.span(), format!("unknown key '{name}' in {}{hint}", self.title));
        }
    }

    fn parse<T, E: std::fmt::Display>(
        &self,
        key: &str,
        text: Spanned<String>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Spanned<T>> {
        match parse(text.get_ref()) {
            Ok(value) => Some(Spanned::new(text.span(), value)),
            Err(error) => {
                self.problems.error(&text.span(), format!("'{key}': {error}"));
                None
            }
        }
    }

    fn ask(&self, key: &'static str) {
        self.asked.borrow_mut().push(key);
    }

    fn get(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.ask(key);
        self.table.get(key)
    }

    fn wrong_type<T>(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) -> Option<T> {
        self.problems.error(&value.span(), format!("'{key}' must be {wanted}"));
        None
    }
}

/// The known key that a misspelt one is most like, if any is like it.
fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let scored = known.iter().map(|key| (strsim::damerau_levenshtein(name, key), *key));
    let (distance, key) = scored.min()?;
    // a third of the letters may be wrong; beyond that a hint is a guess
    (distance <= (name.len().max(key.len()) / 3).max(1)).then_some(key)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::schema::{Default, Key};
    use super::*;

    static SCHEMA: Table = Table {
        header: "",
        title: "the file",
        about: "",
        keys: &[
            key("name", Value::Text("name")),
            key("vrrp_id", Value::Integer(1, 255)),
            key("interval", Value::Duration(Duration::ZERO, Duration::MAX)),
            key("port", Value::Integer(1, 65535)),
            key("mode", Value::Word(&["redirect", "proxy"])),
        ],
    };

    const fn key(name: &'static str, value: Value) -> Key {
        Key { name, value, default: Default::Required, meaning: "", change: "", example: "" }
    }

    /// Asks for all of them.
    fn read(section: &Section<'_>) {
        section.text("name");
        section.integer("vrrp_id");
        section.duration("interval");
        section.integer("port");
        section.word("mode", &[("redirect", 1), ("proxy", 2)]);
    }

    fn problems_of(text: &str) -> Vec<String> {
        let problems = Problems::new(Path::new("t.toml"), text);
        let table = DeTable::parse(text).unwrap();
        let section = Section::root(&SCHEMA, &table, &problems);
        read(&section);
        section.finish();
        problems.into_list().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_problems_are_told_at_once_each_at_its_place() {
        let text = "vrrpid = 1\nname = 5\ninterval = \"fast\"\nport = 70000\n";
        let found = problems_of(text);
        assert_eq!(
            found,
            [
                "t.toml:1:1: error: unknown key 'vrrpid' in the file; did you mean 'vrrp_id'?",
                "t.toml:2:8: error: 'name' must be a text in quotes",
                "t.toml:3:12: error: 'interval': must be a duration with its unit, like \"250ms\", \"2s\", \"10m\" or \"1h\"",
                "t.toml:4:8: error: 'port' must be from 1 to 65535",
            ]
        );
    }

    #[test]
    fn a_name_can_stand_in_a_url() {
        let told = |name: &str| {
            let text = format!("name = '{name}'");
            let problems = Problems::new(Path::new("t.toml"), &text);
            let table = DeTable::parse(&text).unwrap();
            Section::root(&SCHEMA, &table, &problems).name("name");
            problems.into_list().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        for fit in ["gw1", "gw.1", "...", "Zürich & Köln", "100%"] {
            assert_eq!(told(fit), [""; 0], "{fit}");
        }
        for unfit in [".", "..", "a/b", "a\"b", ""] {
            assert_eq!(told(unfit).len(), 1, "{unfit}");
        }
        assert_eq!(
            told(".."),
            ["t.toml:1:8: error: 'name' cannot be '..', which no URL can have in its path"]
        );
    }

    #[test]
    fn an_unknown_word_gets_all_the_allowed_ones() {
        let found = problems_of("mode = \"redirct\"");
        assert_eq!(
            found,
            ["t.toml:1:8: error: 'mode' cannot be 'redirct'; it is one of 'redirect', 'proxy'"]
        );
    }

    #[test]
    #[should_panic(expected = "is read otherwise than its schema says")]
    fn a_key_cannot_be_read_that_the_schema_does_not_have() {
        let problems = Problems::new(Path::new("t.toml"), "");
        let table = DeTable::parse("").unwrap();
        Section::root(&SCHEMA, &table, &problems).boolean("undocumented");
    }

    #[test]
    #[should_panic(expected = "has keys that nobody reads")]
    fn a_key_cannot_be_in_the_schema_that_nobody_reads() {
        let problems = Problems::new(Path::new("t.toml"), "");
        let table = DeTable::parse("").unwrap();
        let section = Section::root(&SCHEMA, &table, &problems);
        section.text("name");
        section.finish();
    }

    #[test]
    #[should_panic(expected = "is read otherwise than its schema says")]
    fn words_are_those_of_the_schema() {
        let problems = Problems::new(Path::new("t.toml"), "");
        let table = DeTable::parse("").unwrap();
        Section::root(&SCHEMA, &table, &problems).word("mode", &[("redirect", 1)]);
    }

    #[test]
    fn a_hint_is_given_only_where_it_is_likely() {
        let known = ["vrrp_id", "name", "certificates"];
        assert_eq!(nearest("vrrpid", &known), Some("vrrp_id"));
        assert_eq!(nearest("certificate", &known), Some("certificates"));
        assert_eq!(nearest("colour", &known), None);
    }
}
