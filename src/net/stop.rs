//! The order to stop, from the one who gives it to everyone who waits for something.

use tokio::sync::watch;

/// Gives the order. Dropping it gives the order too, so that nobody waits for a stopper that is gone.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

/// Waits for the order. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

/// A stopper and its first listener.
pub fn channel() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Gives the order, once and for all.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// Returns when the order has been given, at once if it was given before.
    pub async fn stopped(&mut self) {
        // an error means that the stopper is gone: the same as the order
        let _ = self.0.wait_for(|stopped| *stopped).await;
    }
}
