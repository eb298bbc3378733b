use http::Method;

/// What a request on a redirect listener gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The least-loaded gateway's address. `counts`: a login may follow, so the gateway is charged with it.
    Redirect {
        /// Whether the gateway is charged.
        counts: bool,
    },
    /// What is allowed here.
    Options,
    /// This method makes no sense here.
    MethodNotAllowed,
    /// The request holds a password for whoever answers; to send it on to another host unasked is not
    /// ours to do.
    PasswordComesFirst,
}

/// Decides by method and path alone. What the client says of hosts plays no part.
///
/// Every method is redirected, for VPN clients begin with POST; but CONNECT wants a tunnel and TRACE an
/// echo (RFC 9110 §9.3.6, §9.3.8) that only a gateway can give, and OPTIONS is answered here because a
/// CORS preflight must not be redirected. HEAD is what monitors send: it gets the answer, and nobody is
/// charged.
pub fn route(method: &Method, path: &str) -> Action {
    match *method {
        Method::CONNECT | Method::TRACE => Action::MethodNotAllowed,
        Method::OPTIONS => Action::Options,
        Method::HEAD => Action::Redirect { counts: false },
        // openconnect --protocol=array: the first request's body holds the password
        Method::POST if path.starts_with("/prx/") => Action::PasswordComesFirst,
        _ => Action::Redirect { counts: true },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_first_request_of_a_known_client_is_redirected() {
        for (method, path) in [
            (Method::POST, "/"),                            // AnyConnect
            (Method::GET, "/"),                             // browsers, nc, pulse
            (Method::POST, "/global-protect/prelogin.esp"), // gp
            (Method::GET, "/remote/login"),                 // fortinet
        ] {
            assert_eq!(route(&method, path), Action::Redirect { counts: true }, "{method} {path}");
        }
    }

    #[test]
    fn a_monitor_is_not_a_login() {
        assert_eq!(route(&Method::HEAD, "/"), Action::Redirect { counts: false });
        assert_eq!(route(&Method::OPTIONS, "*"), Action::Options);
    }

    #[test]
    fn a_tunnel_is_not_to_be_had_here() {
        assert_eq!(route(&Method::CONNECT, "/CSCOSSLC/tunnel"), Action::MethodNotAllowed);
        assert_eq!(route(&Method::TRACE, "/"), Action::MethodNotAllowed);
    }

    #[test]
    fn a_password_is_not_sent_on() {
        assert_eq!(route(&Method::POST, "/prx/000/http/localhost/login"), Action::PasswordComesFirst);
    }
}
