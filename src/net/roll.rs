//! Whether everything without which nobody is served still turns: the threads of the data plane, and the keeper. They are
//! called, and each has to answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// Calls the roll. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Roll(Arc<Shared>);

/// One who answers to it. Who is stuck does not come to answer, and neither does one who is gone.
#[derive(Debug)]
pub struct Member {
    calls: watch::Receiver<u64>,
    answered: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Shared {
    calls: watch::Sender<u64>,
    answers: Mutex<Vec<Arc<AtomicU64>>>,
}

impl Roll {
    /// Takes somebody on, for good.
    pub fn enlist(&self) -> Member {
        let calls = self.0.calls.subscribe();
        let answered = Arc::new(AtomicU64::new(*calls.borrow()));
        self.0.answers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&answered));
        Member { calls, answered }
    }

    /// Tells whether everyone has answered the last call, and calls again if so. Whoever has not answered yet is not
    /// called again, so that an answer however late counts.
    pub fn call(&self) -> bool {
        let last = *self.0.calls.borrow();
        let answers = self.0.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let complete = answers.iter().all(|answered| answered.load(Ordering::Relaxed) == last);
        if complete {
            self.0.calls.send_replace(last.wrapping_add(1));
        }
        complete
    }
}

impl Member {
    /// Returns each time a call has been answered. May be dropped and called again.
    pub async fn answer(&mut self) {
        if self.calls.changed().await.is_err() {
            // nobody calls any more
            std::future::pending().await
        }
        self.answered.store(*self.calls.borrow_and_update(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_roll_is_complete_only_when_everyone_has_answered_the_last_call() {
        let roll = Roll::default();
        let (mut one, mut other) = (roll.enlist(), roll.enlist());
        assert!(roll.call(), "nobody has been called before");
        one.answer().await;
        assert!(!roll.call());
        assert!(!roll.call(), "asking again makes nobody answer");
        other.answer().await;
        assert!(roll.call());
        one.answer().await;
        drop(other);
        assert!(!roll.call(), "one who is gone is missed");
    }

    #[tokio::test]
    async fn one_who_comes_later_owes_no_answer_to_earlier_calls() {
        let roll = Roll::default();
        assert!(roll.call() && roll.call());
        let mut late = roll.enlist();
        assert!(roll.call());
        late.answer().await;
        assert!(roll.call());
    }
}
