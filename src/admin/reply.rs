//! Answers that say no, for programs.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::order::ErrorBody;

/// Says what is wrong and what to do.
pub fn refused(status: StatusCode, error: &str) -> Response {
    (status, Json(ErrorBody { error: error.into(), problems: Vec::new() })).into_response()
}
