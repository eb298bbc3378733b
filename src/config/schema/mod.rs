//! What may stand in the two files: every table and key, with its meaning.
//!
//! A [`Section`](super::section::Section) reads by these: a key that is not here is unknown, and ranges and words are
//! those that stand here. docs/configuration.md is made of the same ([`reference`]), so that neither can tell of a key
//! that the other does not have.

mod agent;
mod common;
mod front;
mod page;
mod proxy;

use std::ops::RangeInclusive;
use std::time::Duration;

pub use agent::AGENT;
pub use front::FRONT;
pub use page::reference;

/// One file.
#[derive(Debug)]
pub struct File {
    /// What it is called in the repository.
    pub path: &'static str,
    /// What it is, in one sentence.
    pub about: &'static str,
    /// The file itself, which has no header.
    pub root: &'static Table,
    /// The tables in it, and in each other, in the order in which they are told of.
    pub tables: &'static [&'static Table],
}

/// One table of a file.
#[derive(Debug)]
pub struct Table {
    /// As it stands in a file: `[listener.limits]`.
    pub header: &'static str,
    /// What it is called in messages.
    pub title: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Its keys, the tables in it among them.
    pub keys: &'static [Key],
}

/// One key of a table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As it stands in the file.
    pub name: &'static str,
    /// What it may be set to.
    pub value: Value,
    /// What holds without it.
    pub default: Default,
    /// What it does.
    pub meaning: &'static str,
    /// When it is worth changing; empty where there is nothing to say.
    pub change: &'static str,
    /// Another value than the default, as it stands in the file; empty where one can think of it.
    pub example: &'static str,
}

/// What a key may be set to.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// A text, and of what kind.
    Text(&'static str),
    /// A list of texts, and of what kind each is.
    Texts(&'static str),
    /// true or false.
    Boolean,
    /// From, to.
    Integer(i64, i64),
    /// Whole or not, from 0.
    Number,
    /// From, to.
    Duration(Duration, Duration),
    /// One of these.
    Word(&'static [&'static str]),
    /// A table of its own.
    Table(&'static Table),
    /// A list of tables.
    Tables(&'static Table),
}

/// What holds without a key.
#[derive(Clone, Copy, Debug)]
pub enum Default {
    /// It has to be there.
    Required,
    /// The same as with this, as it stands in the file.
    Is(&'static str),
    /// In words.
    Otherwise(&'static str),
}

impl Table {
    /// The key of that name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The whole numbers that the key may be set to.
    pub(super) fn integers(&self, name: &str) -> RangeInclusive<i64> {
        match self.key(name).map(|key| key.value) {
            Some(Value::Integer(from, to)) => from..=to,
            other => self.mismatch(name, other, i64::MIN..=i64::MAX),
        }
    }

    /// The durations that the key may be set to.
    pub(super) fn durations(&self, name: &str) -> RangeInclusive<Duration> {
        match self.key(name).map(|key| key.value) {
            Some(Value::Duration(from, to)) => from..=to,
            other => self.mismatch(name, other, Duration::ZERO..=Duration::MAX),
        }
    }

    /// The table that the key holds.
    pub(super) fn table(&self, name: &str) -> &'static Self {
        match self.key(name).map(|key| key.value) {
            Some(Value::Table(table) | Value::Tables(table)) => table,
            other => self.mismatch(name, other, &NONE),
        }
    }

    /// Whether the key may be set to what the reader takes. Called by every reader that has no range from here.
    pub(super) fn expect(&self, name: &str, fits: impl Fn(&Value) -> bool) {
        let value = self.key(name).map(|key| key.value);
        if !value.is_some_and(|value| fits(&value)) {
            self.mismatch(name, value, ());
        }
    }

    /// A mistake in this program, which any test that reads the table finds; in a release the key is unknown.
    fn mismatch<T>(&self, name: &str, value: Option<Value>, otherwise: T) -> T {
        debug_assert!(false, "'{name}' in {} is read otherwise than its schema says: {value:?}", self.header);
        otherwise
    }
}

static NONE: Table = Table { header: "", title: "", about: "", keys: &[] };

impl Key {
    const fn new(name: &'static str, value: Value, default: Default, meaning: &'static str) -> Self {
        Self { name, value, default, meaning, change: "", example: "" }
    }

    /// A table in a table, which says itself what it is for.
    const fn table(name: &'static str, table: &'static Table) -> Self {
        Self::new(name, Value::Table(table), Default::Otherwise(""), "")
    }

    /// The same of many.
    const fn tables(name: &'static str, table: &'static Table) -> Self {
        Self::new(name, Value::Tables(table), Default::Otherwise(""), "")
    }

    const fn change(self, change: &'static str) -> Self {
        Self { change, ..self }
    }

    const fn example(self, example: &'static str) -> Self {
        Self { example, ..self }
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const HOUR: Duration = seconds(3600);
const DAY: Duration = seconds(86_400);
