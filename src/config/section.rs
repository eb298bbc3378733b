//! Reading a table key by key, so that every problem of a file is found at once.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problems, Span};
use super::units;

/// One table of a file. Every key that is asked for is a known key; [`finish`](Self::finish) complains
/// about all others.
pub struct Section<'a> {
    /// What it is called in messages: `[listener.limits]`.
    pub title: &'static str,
    /// Where it begins.
    pub span: Span,
    table: &'a DeTable<'a>,
    known: RefCell<Vec<&'static str>>,
    problems: &'a Problems<'a>,
}

impl<'a> Section<'a> {
    /// The file itself: the table that has no header.
    pub fn root(table: &'a Spanned<DeTable<'a>>, problems: &'a Problems<'a>) -> Self {
        Self::new("the file", table.span(), table.get_ref(), problems)
    }

    fn new(title: &'static str, span: Span, table: &'a DeTable<'a>, problems: &'a Problems<'a>) -> Self {
        Self { title, span, table, known: RefCell::default(), problems }
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
        let value = self.get(key)?;
        match value.get_ref().as_str() {
            Some(text) => Some(Spanned::new(value.span(), text.to_owned())),
            None => self.wrong_type(key, value, "a text in quotes"),
        }
    }

    /// A text that is there and not empty.
    pub fn required_text(&self, key: &'static str) -> Option<Spanned<String>> {
        if !self.has(key) {
            self.known(key);
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
        let value = self.get(key)?;
        match value.get_ref().as_bool() {
            Some(truth) => Some(truth),
            None => self.wrong_type(key, value, "true or false"),
        }
    }

    /// A whole number within a range.
    pub fn integer(&self, key: &'static str, range: RangeInclusive<i64>) -> Option<Spanned<i64>> {
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

    /// A duration within a range.
    pub fn duration(&self, key: &'static str, range: RangeInclusive<Duration>) -> Option<Spanned<Duration>> {
        let duration = self.parsed(key, units::duration)?;
        if range.contains(duration.get_ref()) {
            return Some(duration);
        }
        let (first, last) = (range.start(), range.end());
        self.problems.error(&duration.span(), format!("'{key}' must be from {first:?} to {last:?}"));
        None
    }

    /// A word out of a closed set.
    pub fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
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
    pub fn section(&self, key: &'static str, title: &'static str) -> Option<Self> {
        let value = self.get(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some(Self::new(title, value.span(), table, self.problems)),
            None => self.wrong_type(key, value, "a table"),
        }
    }

    /// A list of tables; empty if the key is missing.
    pub fn sections(&self, key: &'static str, title: &'static str) -> Vec<Self> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type::<()>(key, value, &format!("a list of tables; write {title}"));
            return Vec::new();
        };
        let tables = array.iter().filter_map(|item| match item.get_ref().as_table() {
            Some(table) => Some(Self::new(title, item.span(), table, self.problems)),
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

    /// Complains about every key that nobody has asked for.
    pub fn finish(self) {
        let known = self.known.borrow();
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

    fn known(&self, key: &'static str) {
        self.known.borrow_mut().push(key);
    }

    fn get(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known(key);
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

    use super::*;

    fn problems_of(text: &str, read: impl FnOnce(&Section<'_>)) -> Vec<String> {
        let problems = Problems::new(Path::new("t.toml"), text);
        let table = DeTable::parse(text).unwrap();
        let section = Section::root(&table, &problems);
        read(&section);
        section.finish();
        problems.into_list().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_problems_are_told_at_once_each_at_its_place() {
        let text = "vrrpid = 1\nname = 5\ninterval = \"fast\"\nport = 70000\n";
        let found = problems_of(text, |section| {
            section.text("name");
            section.integer("vrrp_id", 1..=255);
            section.duration("interval", Duration::ZERO..=Duration::MAX);
            section.integer("port", 1..=65535);
        });
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
    fn an_unknown_word_gets_all_the_allowed_ones() {
        let found = problems_of("mode = \"redirct\"", |section| {
            section.word("mode", &[("redirect", 1), ("proxy", 2)]);
        });
        assert_eq!(
            found,
            ["t.toml:1:8: error: 'mode' cannot be 'redirct'; it is one of 'redirect', 'proxy'"]
        );
    }

    #[test]
    fn a_hint_is_given_only_where_it_is_likely() {
        let known = ["vrrp_id", "name", "certificates"];
        assert_eq!(nearest("vrrpid", &known), Some("vrrp_id"));
        assert_eq!(nearest("certificate", &known), Some("certificates"));
        assert_eq!(nearest("colour", &known), None);
    }
}
