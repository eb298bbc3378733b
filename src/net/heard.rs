//! What a test's own thread has logged.
//!
//! A subscriber for one thread alone would not do: which events are wanted at all is remembered for the whole
//! process, by whoever comes past first, and that may be another test's thread.

use std::cell::RefCell;
use std::io;
use std::sync::Once;

thread_local! {
    static TEXT: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Listens to this thread until it is dropped.
pub struct Heard(());

impl Heard {
    /// Begins to.
    pub fn begin() -> Self {
        static SUBSCRIBER: Once = Once::new();
        SUBSCRIBER.call_once(|| {
            let subscriber = tracing_subscriber::fmt().with_writer(|| Ear).with_ansi(false);
            let subscriber = subscriber.without_time().with_target(false).finish();
            tracing::subscriber::set_global_default(subscriber).unwrap();
        });
        TEXT.set(Some(Vec::new()));
        Self(())
    }

    /// The lines since the last time.
    pub fn lines(&self) -> Vec<String> {
        let text = TEXT.with_borrow_mut(|text| text.as_mut().map(std::mem::take).unwrap_or_default());
        String::from_utf8(text).unwrap().lines().map(|line| line.trim().to_owned()).collect()
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        TEXT.set(None);
    }
}

struct Ear;

impl io::Write for Ear {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        TEXT.with_borrow_mut(|text| text.iter_mut().for_each(|text| text.extend_from_slice(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
