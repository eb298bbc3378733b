use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};

use crate::net::stop::{self, Stop, Stopper};

/// A part of the front door that works in a task of its own, by settings that may become others meanwhile.
pub struct Steered<T: ?Sized> {
    settings: watch::Sender<Arc<T>>,
    stopper: Stopper,
    task: JoinHandle<()>,
}

impl<T: ?Sized + Send + Sync + 'static> Steered<T> {
    /// Begins. `run` makes the work of the settings, as they are at each moment, and of the order to stop.
    pub fn start<W>(settings: impl Into<Arc<T>>, run: impl FnOnce(watch::Receiver<Arc<T>>, Stop) -> W) -> Self
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let (sender, receiver) = watch::channel(settings.into());
        let (stopper, stop) = stop::channel();
        Self { settings: sender, stopper, task: tokio::spawn(run(receiver, stop)) }
    }

    /// Goes over to other settings. What is under way and still wanted goes on.
    pub fn change(&self, settings: impl Into<Arc<T>>) {
        self.settings.send_replace(settings.into());
    }

    /// Returns when it has ended though nobody has told it to; a panic is an error.
    pub async fn ended(&mut self) -> Result<(), JoinError> {
        (&mut self.task).await
    }

    /// Stops in order.
    pub async fn stop(self) {
        self.stopper.stop();
        let _ = self.task.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_works_by_the_newest_settings_until_it_is_stopped() {
        let (seen, mut last) = watch::channel(0);
        let work = async move |mut settings: watch::Receiver<Arc<[u8]>>, mut stop: Stop| loop {
            seen.send_replace(settings.borrow_and_update().len());
            tokio::select! {
                () = stop.stopped() => return,
                changed = settings.changed() => assert!(changed.is_ok(), "stopped without a word"),
            }
        };
        let steered = Steered::start(&[1][..], work);
        last.wait_for(|&count| count == 1).await.unwrap();
        steered.change(vec![1, 2, 3]);
        last.wait_for(|&count| count == 3).await.unwrap();
        steered.stop().await;
        assert!(last.changed().await.is_err(), "it still works");
    }

    #[tokio::test]
    async fn one_that_ends_or_panics_by_itself_is_told() {
        let mut one = Steered::start((), |_, _| async {});
        assert!(one.ended().await.is_ok());
        let mut other = Steered::start((), |_, _| async { panic!("for the test") });
        assert!(other.ended().await.unwrap_err().is_panic());
    }
}
