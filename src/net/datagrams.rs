//! Answering datagrams: sockets that tell at which address they were asked and answer from there, and the loop that
//! takes what is waiting, has it answered, and sends the answers.

use std::net::SocketAddr;
use std::ops::Range;

use crate::fleet::Moment;

/// A datagram that has come.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// What it says.
    pub bytes: &'a [u8],
    /// Who has sent it, or pretends to.
    pub from: SocketAddr,
}

/// Who answers datagrams.
pub trait Responder {
    /// Answers those that were waiting, all at once; any of them may stay without an answer.
    fn answer(&mut self, asked: &[Datagram<'_>], now: Moment, replies: &mut Replies);
}

/// Answers that are to be sent.
#[derive(Debug, Default)]
pub struct Replies {
    bytes: Vec<u8>,
    replies: Vec<(usize, Range<usize>)>,
}

impl Replies {
    /// Answers the datagram at that place among those asked, with what is written.
    pub fn push(&mut self, place: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.replies.push((place, start..self.bytes.len()));
    }

    /// Those of this turn, each with the place of its question.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.replies.iter().filter_map(|(place, range)| Some((*place, self.bytes.get(range.clone())?)))
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.replies.clear();
    }
}
