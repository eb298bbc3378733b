//! What the responder counts.

use std::sync::atomic::{AtomicU64, Ordering};

use super::message::Status;

/// What became of the datagrams that came to one address, over all threads. Written once a turn.
#[derive(Debug, Default)]
pub struct Meter {
    outcomes: [AtomicU64; Outcome::COUNT],
    batches: [AtomicU64; BATCH_SIZES.len()],
    answers: AtomicU64,
}

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Answered(Status),
    /// A request that got no answer: its source has had enough, or there was no room for one.
    Dropped,
    /// It was no request.
    Ignored,
}

/// One turn's counts.
#[derive(Debug, Default)]
pub struct Tally {
    outcomes: [u64; Outcome::COUNT],
    batches: [u64; BATCH_SIZES.len()],
    answers: u64,
}

impl Outcome {
    const COUNT: usize = Status::ALL.len() + 2;

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Status::ALL.into_iter().map(Self::Answered).chain([Self::Dropped, Self::Ignored])
    }

    /// The word used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered(status) => status.as_str(),
            Self::Dropped => "dropped",
            Self::Ignored => "ignored",
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Answered(status) => status as usize,
            Self::Dropped => Status::ALL.len(),
            Self::Ignored => Status::ALL.len() + 1,
        }
    }
}

impl Tally {
    /// Notes what became of one.
    pub fn note(&mut self, outcome: Outcome) {
        self.outcomes.get_mut(outcome.index()).into_iter().for_each(|count| *count += 1);
    }

    /// Notes that so many were signed at once.
    pub fn note_batch(&mut self, size: usize) {
        let bucket = BATCH_SIZES.iter().position(|most| size <= *most).unwrap_or(BATCH_SIZES.len() - 1);
        self.batches.get_mut(bucket).into_iter().for_each(|count| *count += 1);
        self.answers += size as u64;
    }
}

impl Meter {
    /// Adds a turn's counts.
    pub fn add(&self, tally: &Tally) {
        let all = self.outcomes.iter().zip(&tally.outcomes).chain(self.batches.iter().zip(&tally.batches));
        for (total, more) in all.chain([(&self.answers, &tally.answers)]).filter(|(_, more)| **more > 0) {
            total.fetch_add(*more, Ordering::Relaxed);
        }
    }

    /// How many had this outcome so far.
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome.index()).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// How many signatures were for so many answers at most and for more than the size before, by [`BATCH_SIZES`].
    pub fn batches(&self) -> impl Iterator<Item = u64> {
        self.batches.iter().map(|count| count.load(Ordering::Relaxed))
    }

    /// How many answers they were for.
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }
}

/// The upper bounds of the histogram of batches.
pub const BATCH_SIZES: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
