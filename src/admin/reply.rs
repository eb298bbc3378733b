//! Answers that say no.

use axum::Json;
use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;

use super::order::ErrorBody;

/// For programs.
pub fn refused(status: StatusCode, error: &str) -> Response {
    (status, Json(ErrorBody { error: error.into(), problems: Vec::new() })).into_response()
}

/// For people, who have sent a form.
pub fn refused_page(status: StatusCode, error: &str) -> Response {
    // the texts are our own: nothing of what was sent is in them
    let page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Refused</title><h1>Refused</h1><p>{error}</p>\
         <p><a href=/>Back to the farm</a></p>"
    );
    (status, Html(page)).into_response()
}
