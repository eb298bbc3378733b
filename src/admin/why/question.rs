use std::net::IpAddr;

use crate::admin::listener::ListenerStatus;
use crate::fleet::Vpn;

/// Which choice is to be explained. What is not named is the first that fits, in the order of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// At which listener, by its name; those who answer native clients are called `dve` and `ikev2_redirect`.
    pub listener: Option<String>,
    /// For which kind of client.
    pub vpn: Option<Vpn>,
    /// For which client.
    pub source: Option<IpAddr>,
}

/// Why there is nothing to explain. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// Not a word that is known.
    #[error("there is no parameter '{0}'; there are: listener, vpn, source")]
    UnknownParameter(String),
    /// Which one is meant?
    #[error("'{0}' is there twice; leave one out")]
    Twice(&'static str),
    /// Not a kind of VPN.
    #[error("vpn must be 'native' or 'ssl'")]
    Vpn,
    /// Not an address.
    #[error("source must be an IP address, like 192.0.2.1")]
    Source,
    /// There is none of that name.
    #[error("there is no listener of that name; there are: {}", .0.join(", "))]
    UnknownListener(Vec<String>),
    /// Its clients are of the other kind.
    #[error("listener {listener} has {has} clients alone; leave vpn out, or name another listener")]
    OtherVpn {
        /// Its name.
        listener: String,
        /// What they want.
        has: &'static str,
    },
    /// It sends everyone to the same place.
    #[error("listener {0} sends everyone to the same place and chooses no gateway; name another one")]
    ChoosesNone(String),
}

impl Question {
    /// Reads the query of an address (`listener=portal&vpn=ssl&source=192.0.2.1`). What is empty is not named.
    pub fn parse(query: &str) -> Result<Self, QuestionError> {
        let mut question = Self::default();
        // as forms write it (URL Standard §5.1); there is nothing that cannot be read
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
        for (name, value) in pairs {
            let was_there = match name.as_str() {
                "listener" if value.is_empty() => false,
                "listener" => question.listener.replace(value).is_some(),
                "vpn" if value.is_empty() => false,
                "vpn" => question.vpn.replace(Self::vpn(&value).ok_or(QuestionError::Vpn)?).is_some(),
                "source" if value.trim().is_empty() => false,
                "source" => {
                    let address = value.trim().parse().map_err(|_| QuestionError::Source)?;
                    question.source.replace(address).is_some()
                }
                _ => return Err(QuestionError::UnknownParameter(name.chars().take(50).collect())),
            };
            if was_there {
                let names = ["listener", "vpn", "source"];
                return Err(QuestionError::Twice(names.into_iter().find(|n| *n == name).unwrap_or_default()));
            }
        }
        Ok(question)
    }

    /// The kind of VPN that a word means.
    pub fn vpn(word: &str) -> Option<Vpn> {
        [Vpn::Native, Vpn::Ssl].into_iter().find(|vpn| vpn.as_str() == word)
    }

    /// The path to ask with.
    pub fn path(&self) -> String {
        let pairs = [
            ("listener", self.listener.clone()),
            ("vpn", self.vpn.map(|vpn| vpn.as_str().to_owned())),
            ("source", self.source.map(|source| source.to_string())),
        ];
        let named: Vec<_> = pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let query = serde_urlencoded::to_string(named).unwrap_or_default();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("/api/v1/why{mark}{query}")
    }

    /// Which listener is meant; `None`: there is none for such clients.
    pub(super) fn find<'a>(
        &self,
        listeners: &'a [ListenerStatus],
    ) -> Result<Option<&'a ListenerStatus>, QuestionError> {
        let fits = |listener: &ListenerStatus| self.vpn.is_none_or(|vpn| vpn == listener.vpn);
        let Some(name) = &self.listener else {
            return Ok(listeners.iter().find(|listener| listener.steering.is_some() && fits(listener)));
        };
        let named = || listeners.iter().filter(|listener| listener.name == *name);
        let Some(first) = named().next() else {
            let mut names: Vec<_> = listeners.iter().map(|listener| listener.name.clone()).collect();
            names.dedup();
            return Err(QuestionError::UnknownListener(names));
        };
        let Some(found) = named().find(|listener| fits(listener)) else {
            let has = first.vpn.as_str();
            return Err(QuestionError::OtherVpn { listener: name.clone(), has });
        };
        match found.steering {
            Some(_) => Ok(Some(found)),
            None => Err(QuestionError::ChoosesNone(name.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_reads_back_as_it_was_written() {
        for question in [
            Question::default(),
            Question { listener: Some("Zürich & Köln=1+2".into()), ..Question::default() },
            Question {
                listener: Some("portal".into()),
                vpn: Some(Vpn::Ssl),
                source: Some("2001:db8::1".parse().unwrap()),
            },
        ] {
            let path = question.path();
            let query = path.strip_prefix("/api/v1/why").unwrap().trim_start_matches('?');
            assert_eq!(Question::parse(query), Ok(question), "{path}");
        }
        let of_a_form = "listener=my+portal&vpn=&source=+192.0.2.1";
        let question = Question::parse(of_a_form).unwrap();
        assert_eq!((question.listener.as_deref(), question.vpn), (Some("my portal"), None));
        assert_eq!(question.source, Some([192, 0, 2, 1].into()));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (query, words) in [
            ("listner=x", "there is no parameter 'listner'; there are: listener, vpn, source"),
            ("vpn=ipsec", "vpn must be 'native' or 'ssl'"),
            ("source=gw1.example.com", "source must be an IP address, like 192.0.2.1"),
            ("vpn=ssl&vpn=ssl", "'vpn' is there twice; leave one out"),
            ("%ff%00", "there is no parameter '\u{fffd}\0'; there are: listener, vpn, source"),
        ] {
            assert_eq!(Question::parse(query).unwrap_err().to_string(), words);
        }
    }
}
