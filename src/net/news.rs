//! Telling only what is news: who waits for a change is not woken by what he knows.

use tokio::sync::watch;

/// Puts `value` there unless it is there already.
pub fn tell<T: PartialEq>(sender: &watch::Sender<T>, value: T) {
    sender.send_if_modified(|current| {
        let is_new = *current != value;
        if is_new {
            *current = value;
        }
        is_new
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_told() {
        let (sender, mut receiver) = watch::channel(1);
        tell(&sender, 1);
        assert!(!receiver.has_changed().unwrap());
        tell(&sender, 2);
        assert!(receiver.has_changed().unwrap());
        assert_eq!(*receiver.borrow_and_update(), 2);
    }
}
