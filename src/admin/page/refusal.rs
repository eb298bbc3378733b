//! Answers that say no, for people.

use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};

use super::frame::bare;
use super::routes::page;

/// A page that says what is wrong and what to do.
pub fn refused(status: StatusCode, error: &str) -> Response {
    page(status, &content(status, error))
}

fn content(status: StatusCode, error: &str) -> Markup {
    let title = match status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::UNAUTHORIZED => "The token is needed",
        status if status.is_server_error() => "This did not work",
        _ => "Refused",
    };
    // a form goes where its page is: the same address brings that back
    let is_form = status == StatusCode::FORBIDDEN || status == StatusCode::BAD_REQUEST;
    bare(
        title,
        &html! {
            h1 { (title) }
            p.refusal { (crate::admin::summary::capitalised(error)) "." }
            p.actions {
                @if is_form { a.button.primary href="" { "Try again" } " " }
                a.button href="/" { "Back to the farm" }
            }
        },
    )
}
