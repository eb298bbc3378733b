//! Who gets a request next when a gateway has not answered it.

use http::Method;

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not a byte of it has left.
    NotSent,
    /// It may have arrived, in whole or in part.
    PerhapsSent,
}

/// What a request allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nature {
    /// Twice is as good as once (RFC 9110 §9.2.2).
    pub is_idempotent: bool,
    /// There is a body, which can be sent once alone.
    pub has_body: bool,
}

impl Nature {
    /// That of a request.
    pub fn of(method: &Method, has_body: bool) -> Self {
        Self { is_idempotent: method.is_idempotent(), has_body }
    }

    /// Whether it may be sent again after it has come this far.
    pub fn may_be_sent_again(self, progress: Progress) -> bool {
        match progress {
            Progress::NotSent => true,
            Progress::PerhapsSent => self.is_idempotent && !self.has_body,
        }
    }

    /// Whether a connection that has waited for long will do. If the gateway closes it at that moment, a
    /// request that must not be sent twice is lost.
    pub fn may_use_a_connection_that_has_waited(self) -> bool {
        self.may_be_sent_again(Progress::PerhapsSent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_that_may_have_arrived_is_never_sent_again() {
        for has_body in [true, false] {
            let post = Nature::of(&Method::POST, has_body);
            assert!(!post.may_be_sent_again(Progress::PerhapsSent));
            assert!(post.may_be_sent_again(Progress::NotSent));
            assert!(!post.may_use_a_connection_that_has_waited());
        }
        assert!(!Nature::of(&Method::CONNECT, false).may_be_sent_again(Progress::PerhapsSent));
    }

    #[test]
    fn what_is_idempotent_is_sent_again_as_long_as_its_body_is_still_there() {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE] {
            assert!(Nature::of(&method, false).may_be_sent_again(Progress::PerhapsSent), "{method}");
            assert!(!Nature::of(&method, true).may_be_sent_again(Progress::PerhapsSent), "{method}");
        }
    }
}
