use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use http::StatusCode;

use super::relay::Ended;
use crate::fleet::GatewayName;

/// What the access log tells of one request, connection or tunnel. No path, query, header or body is in here, so none can get out.
#[derive(Clone, Debug)]
pub struct Access {
    /// What happened.
    pub event: Event,
    /// Who came.
    pub client: SocketAddr,
    /// Where.
    pub listener: Arc<str>,
    /// Whom the answer named, or where the client was taken.
    pub gateway: Option<GatewayName>,
    /// Length of the answer's body; what has gone through a tunnel to the client.
    pub bytes: u64,
    /// From the end of the request's head; how long a tunnel lasted.
    pub took: Duration,
}

/// What the access log tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request was answered with this status; without one, its client had gone before there was an answer.
    Request(Option<StatusCode>),
    /// A connection was taken to no gateway.
    Untaken,
    /// A tunnel has ended.
    Tunnel {
        /// That of the answer that opened it, where one did.
        status: Option<StatusCode>,
        /// Why it is over.
        end: End,
        /// What has gone through it from the client.
        bytes_in: u64,
    },
}

/// Why a tunnel is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides have said all they had to say.
    Closed,
    /// Nobody has said anything for too long.
    Idle,
    /// A connection broke.
    Broken,
    /// It was cut off: this worker has stopped.
    Cut,
}

impl End {
    /// The word used in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Idle => "idle",
            Self::Broken => "broken",
            Self::Cut => "cut",
        }
    }
}

impl From<Ended> for End {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Closed => Self::Closed,
            Ended::Idle => Self::Idle,
            Ended::Broken(_) => Self::Broken,
        }
    }
}

/// The way from the workers to whoever writes the log. Workers never wait: what does not fit is counted
/// and left out.
#[derive(Clone, Debug)]
pub struct AccessQueue {
    queue: Arc<ArrayQueue<Access>>,
    left_out: Arc<AtomicU64>,
}

impl AccessQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self { queue: Arc::new(ArrayQueue::new(CAPACITY)), left_out: Arc::default() }
    }

    /// Adds a line.
    pub fn push(&self, access: Access) {
        if self.queue.push(access).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes the oldest line out.
    pub fn pop(&self) -> Option<Access> {
        self.queue.pop()
    }

    /// How many did not fit so far.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }
}

impl Default for AccessQueue {
    fn default() -> Self {
        Self::new()
    }
}

const CAPACITY: usize = 65_536;
