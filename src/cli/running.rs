//! The runtime of the long-running commands, and the signals that end them.

use std::future::Future;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::net::stop::{self, Stop};

/// Runs the control plane on this thread until it ends by itself, or finishes after SIGINT or SIGTERM. A
/// second signal ends it at once.
pub fn until_told_to_stop<F>(work: impl FnOnce(Stop) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let result = runtime.block_on(async {
        let (stopper, stop) = stop::channel();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut work = std::pin::pin!(work(stop));
        for _ in 0..2 {
            tokio::select! {
                ended = &mut work => return ended,
                _ = interrupt.recv() => stopper.stop(),
                _ = terminate.recv() => stopper.stop(),
            }
        }
        anyhow::bail!("ended at once by a second signal, and not in order")
    });
    // a name lookup that hangs cannot be called off, and the end does not wait for it
    runtime.shutdown_background();
    result
}

/// Runs one short piece of work.
pub fn once<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}
