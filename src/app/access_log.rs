use std::time::Duration;

use crate::front::{Access, AccessQueue};
use crate::net::stop::Stop;

/// Writes the access log: what the workers have noted, a few times a second.
pub async fn write(queue: AccessQueue, mut stop: Stop) {
    let mut told_left_out = 0;
    loop {
        let stopped = tokio::select! {
            () = tokio::time::sleep(PAUSE) => false,
            () = stop.stopped() => true,
        };
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
    }
}

const PAUSE: Duration = Duration::from_millis(100);

fn line(access: &Access) {
    let Access { client, listener, gateway, status, bytes, took } = access;
    let listener: &str = listener;
    let gateway = gateway.as_ref().map_or("-", |name| name.as_str());
    let milliseconds = took.as_micros() as f64 / 1000.0;
    let status = status.as_u16();
    tracing::info!(%client, listener, gateway, status, bytes, milliseconds, "request");
}
