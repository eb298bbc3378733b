use crate::net::seldom::Seldom;

/// What goes wrong with the clients of one listener, told at length now and then and else summed up.
#[derive(Debug)]
pub struct Troubles {
    /// Requests and connections that no gateway has answered.
    pub unanswered: Seldom,
    /// Connections from trusted proxies that do not begin with a PROXY header.
    pub headerless: Seldom,
    /// Connections with a name that is not let through, or with none.
    pub nameless: Seldom,
}

impl Troubles {
    /// All kinds.
    pub fn all(&self) -> [&Seldom; 3] {
        [&self.unanswered, &self.headerless, &self.nameless]
    }
}

impl Default for Troubles {
    fn default() -> Self {
        Self {
            unanswered: Seldom::new(
                "client whom no gateway has answered",
                "clients whom no gateway has answered",
            ),
            headerless: Seldom::new(
                "connection of a trusted proxy without a PROXY header",
                "connections of trusted proxies without a PROXY header",
            ),
            nameless: Seldom::new(
                "connection refused for its server name",
                "connections refused for their server names",
            ),
        }
    }
}
