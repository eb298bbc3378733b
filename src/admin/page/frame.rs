//! What all pages have around them.

use maud::{DOCTYPE, Markup, html};

use super::assets::{CSS, ICON, JS};
use super::verdict::{self, Mood};
use crate::admin::status::Status;

/// Which page it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The farm at a glance.
    Farm,
    /// The explanation of the choice.
    Why,
    /// Another one.
    Elsewhere,
}

/// How a page goes on by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motion {
    /// A script keeps it as things are; where there is none, the page asks for itself again every few seconds.
    Always,
    /// A script alone does: what is typed into a form would be lost.
    Script,
    /// Not at all: it is an answer, and not a place.
    Still,
}

/// A page of the front door that is described.
pub struct Frame<'a> {
    /// Whose it is.
    pub status: &'a Status,
    /// Which.
    pub place: Place,
    /// Without the name of the front door.
    pub title: &'a str,
    /// How it goes on.
    pub motion: Motion,
}

impl Frame<'_> {
    /// The whole document.
    pub fn around(&self, content: &Markup) -> Markup {
        let node = self.status.node.name.as_str();
        let sign = match verdict::of(self.status) {
            Mood::Calm => "",
            Mood::Notice => "▲ ",
            Mood::Trouble => "✖ ",
        };
        let title = format!("{sign}{} – {node}", self.title);
        document(&title, Some((node, self.place)), self.motion, content)
    }
}

/// A document that need not know anything of a front door.
pub fn bare(title: &str, content: &Markup) -> Markup {
    document(title, None, Motion::Still, content)
}

fn document(title: &str, of: Option<(&str, Place)>, motion: Motion, content: &Markup) -> Markup {
    let current = |place| of.is_some_and(|(_, here)| here == place).then_some("page");
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" type="image/svg+xml" href=(ICON.url());
                link rel="stylesheet" href=(CSS.url());
                @if motion != Motion::Still { script src=(JS.url()) defer {} }
                @if motion == Motion::Always { noscript { meta http-equiv="refresh" content="10"; } }
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header.top {
                    p.brand {
                        (mark())
                        a href="/" { "Vestibule" }
                        @if let Some((node, _)) = of { span.node { bdi { (node) } } }
                    }
                    nav aria-label="Pages" {
                        a href="/" aria-current=[current(Place::Farm)] { "Farm" }
                        a href="/why" aria-current=[current(Place::Why)] { "Why" }
                    }
                    @if motion != Motion::Still {
                        // the script shows it, and says in it whether it hears anything
                        p #live.live hidden { }
                    }
                }
                main #main tabindex="-1" { (content) }
                div #spoken.unseen role="status" aria-live="polite" {}
            }
        }
    }
}

/// The same as the icon: a doorway.
fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 32 32" aria-hidden="true" focusable="false" {
            path d="M6 28V14a10 10 0 0 1 20 0v14M12 28V15a4 4 0 0 1 8 0v13" {}
        }
    }
}
