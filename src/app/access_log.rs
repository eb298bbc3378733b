use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::front::{Access, AccessQueue, Event};

/// Writes the access log, on a thread of its own: under a flood of requests there is always one more line
/// to write, and nothing else may wait for that.
pub struct AccessLog {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl AccessLog {
    /// Begins to write what the workers note.
    pub fn start(queue: AccessQueue) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread =
            std::thread::Builder::new().name("access-log".into()).spawn(move || write(&queue, &told))?;
        Ok(Self { stop, thread })
    }

    /// Writes what is left, once the workers have ended, and ends. Blocks meanwhile.
    pub fn finish(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        // a panic has had its say already
        let _ = self.thread.join();
    }
}

fn write(queue: &AccessQueue, stop: &AtomicBool) {
    let mut told_left_out = 0;
    loop {
        // looked at first, so that what came before the order is still written
        let stopped = stop.load(Ordering::Acquire);
        while let Some(access) = queue.pop() {
            line(&access);
        }
        let left_out = queue.left_out();
        if left_out > told_left_out {
            let lines = left_out - told_left_out;
            tracing::warn!(lines, "the access log has left out lines: more requests than can be written");
            told_left_out = left_out;
        }
        if stopped {
            return;
        }
        std::thread::park_timeout(PAUSE);
    }
}

const PAUSE: Duration = Duration::from_millis(100);

fn line(access: &Access) {
    let Access { event, client, listener, gateway, bytes, took } = access;
    let listener: &str = listener;
    let gateway = gateway.as_ref().map_or("-", |name| name.as_str());
    let milliseconds = took.as_micros() as f64 / 1000.0;
    let (what, status, tunnel) = match event {
        Event::Request(status) => ("request", status, None),
        Event::Untaken => ("connection", &None, None),
        Event::Tunnel { status, end, bytes_in } => ("tunnel", status, Some((end.as_str(), bytes_in))),
    };
    // what is `None` does not appear
    let end = tunnel.map(|(end, _)| end);
    let bytes_in = tunnel.map(|(_, bytes)| bytes);
    match status {
        Some(status) => {
            let status = status.as_u16();
            tracing::info!(%client, listener, gateway, status, bytes, bytes_in, end, milliseconds, "{what}");
        }
        None => {
            let status = "-";
            tracing::info!(%client, listener, gateway, status, bytes, bytes_in, end, milliseconds, "{what}");
        }
    }
}
