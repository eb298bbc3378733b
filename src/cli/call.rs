use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::fleet::Endpoint;

/// A command to run with an endpoint filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    program: OsString,
    arguments: Vec<OsString>,
}

/// Why the command makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nothing is there.
    #[error("the command after -- is missing")]
    Empty,
    /// It would not go where it is sent.
    #[error(
        "the command names neither {{endpoint}} nor {{host}}; write one of them where the gateway's address belongs"
    )]
    NoPlace,
}

impl Call {
    /// A program and its arguments, some of which have `{endpoint}` or `{host}` in them.
    pub fn new(words: Vec<OsString>) -> Result<Self, CallError> {
        let mut words = words.into_iter();
        let program = words.next().ok_or(CallError::Empty)?;
        let arguments: Vec<_> = words.collect();
        let anywhere = |argument: &OsString| {
            (0..argument.len()).any(|at| {
                let rest = argument.as_bytes().get(at..).unwrap_or_default();
                rest.starts_with(ENDPOINT) || rest.starts_with(HOST)
            })
        };
        if arguments.iter().any(anywhere) { Ok(Self { program, arguments }) } else { Err(CallError::NoPlace) }
    }

    /// What is called.
    pub fn program(&self) -> &OsStr {
        &self.program
    }

    /// Becomes that program, so that signals and the exit status are its own. Returns only if it cannot be run.
    pub fn become_it(&self, endpoint: &Endpoint) -> io::Error {
        Command::new(&self.program).args(self.filled(endpoint)).exec()
    }

    /// `{endpoint}` is `host:port`, with an IPv6 address in brackets; `{host}` is without brackets.
    fn filled(&self, endpoint: &Endpoint) -> Vec<OsString> {
        let values = [
            (ENDPOINT, endpoint.to_string()),
            (HOST, endpoint.host.bare()),
            (PORT, endpoint.port.to_string()),
        ];
        self.arguments.iter().map(|argument| fill(argument, &values)).collect()
    }
}

const ENDPOINT: &[u8] = b"{endpoint}";
const HOST: &[u8] = b"{host}";
const PORT: &[u8] = b"{port}";

fn fill(argument: &OsStr, values: &[(&[u8], String)]) -> OsString {
    let mut rest = argument.as_bytes();
    let mut filled = Vec::with_capacity(rest.len());
    while let Some((first, after)) = rest.split_first() {
        let value = values.iter().find_map(|(place, value)| Some((rest.strip_prefix(*place)?, value)));
        rest = match value {
            Some((after, value)) => {
                filled.extend_from_slice(value.as_bytes());
                after
            }
            None => {
                filled.push(*first);
                after
            }
        };
    }
    OsString::from_vec(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(words: &[&str]) -> Result<Call, CallError> {
        Call::new(words.iter().map(Into::into).collect())
    }

    #[test]
    fn an_endpoint_is_filled_in_wherever_it_is_named() {
        let call = call(&["{host}", "{endpoint}", "https://{endpoint}/{host}:{port}", "{{port}}", "{Host}"]);
        let filled = |text| call.clone().unwrap().filled(&Endpoint::parse(text, 500).unwrap());
        assert_eq!(
            filled("[2001:db8::1]:4500"),
            ["[2001:db8::1]:4500", "https://[2001:db8::1]:4500/2001:db8::1:4500", "{4500}", "{Host}"]
        );
        assert_eq!(filled("GW1"), ["gw1:500", "https://gw1:500/gw1:500", "{500}", "{Host}"]);
        assert_eq!(call.unwrap().program(), "{host}", "which program it is, no answer decides");
    }

    #[test]
    fn what_is_no_text_is_passed_on_as_it_is() {
        let odd = OsString::from_vec(b"\xff{host}\xfe".to_vec());
        let call = Call::new(vec!["x".into(), odd]).unwrap();
        let filled = call.filled(&Endpoint::parse("gw1", 500).unwrap());
        assert_eq!(filled, [OsString::from_vec(b"\xffgw1\xfe".to_vec())]);
    }

    #[test]
    fn a_command_that_would_not_go_there_is_refused() {
        assert_eq!(call(&[]), Err(CallError::Empty));
        for words in [&["openconnect"][..], &["{endpoint}"], &["openconnect", "{port}", "{ host }"]] {
            assert_eq!(call(words), Err(CallError::NoPlace), "{words:?}");
        }
    }
}
