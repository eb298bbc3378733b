//! Which page is at which path.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Extension, Router};
use http::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_FRAME_OPTIONS};
use http::{HeaderMap, StatusCode};
use maud::Markup;

use super::assets::{Asset, CSS, ICON, JS};
use super::why::Typed;
use super::words::gateway_path;
use super::{change, farm, gateway, refused, why};
use crate::admin::guard::{By, Form};
use crate::admin::order::{Changed, Reason, Wanted};
use crate::admin::reply;
use crate::admin::server::Admin;
use crate::admin::status::{GatewayStatus, Status};
use crate::admin::trust::Rights;
use crate::admin::why::Question;

/// All pages, and the files that they name.
pub fn router() -> Router<Arc<Admin>> {
    let asset = |asset: &'static Asset| get(async move || asset.response());
    Router::new()
        .route("/", get(show_farm))
        .route("/gateways/{name}", get(show_gateway))
        .route("/gateways/{name}/drain", get(ask_drain).post(drain))
        .route("/gateways/{name}/resume", get(ask_resume).post(resume))
        .route("/why", get(show_why))
        .route(CSS.path(), asset(&CSS))
        .route(JS.path(), asset(&JS))
        .route(ICON.path(), asset(&ICON))
}

/// Whether whoever asks reads pages, and not documents for programs.
pub fn for_people(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with("text/html"))
}

/// The answer where nothing is.
pub async fn nothing_here(headers: HeaderMap) -> Response {
    no(&headers, StatusCode::NOT_FOUND, "there is nothing at this path")
}

/// The answer to a method that is not known there.
pub async fn wrong_method(headers: HeaderMap) -> Response {
    let text = "this path does not know that method; see Allow";
    no(&headers, StatusCode::METHOD_NOT_ALLOWED, text)
}

fn no(headers: &HeaderMap, status: StatusCode, text: &str) -> Response {
    if for_people(headers) { refused(status, text) } else { reply::refused(status, text) }
}

/// A page, that nothing but this endpoint has a part in: not even a style in the page itself, lest one came to be there that
/// somebody else has written.
pub(super) fn page(status: StatusCode, markup: &Markup) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_FRAME_OPTIONS, "DENY"),
        // with no-referrer a form would not say where it comes from
        (REFERRER_POLICY, "same-origin"),
    ];
    (status, headers, markup.0.clone()).into_response()
}

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

async fn show_farm(State(admin): State<Arc<Admin>>, Extension(rights): Extension<Rights>) -> Response {
    admin.aside(move |admin| page(StatusCode::OK, &farm::page(&admin.status(), rights))).await
}

async fn show_why(State(admin): State<Arc<Admin>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let show = move |admin: &Admin| {
        let answer = Question::parse(&query).and_then(|question| admin.why(&question));
        page(StatusCode::OK, &why::page(&admin.status(), &Typed::of(&query), &answer))
    };
    admin.aside(show).await
}

type Shown = fn(&Status, &GatewayStatus, Rights) -> Markup;

async fn show_gateway(
    State(admin): State<Arc<Admin>>,
    Extension(rights): Extension<Rights>,
    Path(name): Path<String>,
) -> Response {
    of_gateway(&admin, name, rights, gateway::page).await
}

async fn ask_drain(
    State(admin): State<Arc<Admin>>,
    Extension(rights): Extension<Rights>,
    Path(name): Path<String>,
) -> Response {
    of_gateway(&admin, name, rights, change::drain).await
}

async fn ask_resume(
    State(admin): State<Arc<Admin>>,
    Extension(rights): Extension<Rights>,
    Path(name): Path<String>,
) -> Response {
    of_gateway(&admin, name, rights, change::resume).await
}

async fn of_gateway(admin: &Arc<Admin>, name: String, rights: Rights, shown: Shown) -> Response {
    let show = move |admin: &Admin| {
        let status = admin.status();
        match status.gateways.iter().find(|gateway| gateway.name == name) {
            Some(gateway) => page(StatusCode::OK, &shown(&status, gateway, rights)),
            None => refused(StatusCode::NOT_FOUND, "there is no gateway of that name"),
        }
    };
    admin.aside(show).await
}

async fn drain(
    State(admin): State<Arc<Admin>>,
    Extension(By(by)): Extension<By>,
    Extension(form): Extension<Form>,
    Path(name): Path<String>,
) -> Response {
    match Reason::new(&form.reason) {
        Ok(reason) => change(&admin, &name, Wanted::Drain(reason), by).await,
        Err(error) => refused(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

async fn resume(
    State(admin): State<Arc<Admin>>,
    Extension(By(by)): Extension<By>,
    Path(name): Path<String>,
) -> Response {
    change(&admin, &name, Wanted::Resume, by).await
}

async fn change(admin: &Admin, name: &str, wanted: Wanted, by: Arc<str>) -> Response {
    match admin.change(name, wanted, by).await {
        Ok(Changed { warning: None, .. }) => Redirect::to(&gateway_path(name)).into_response(),
        Ok(Changed { gateway, warning: Some(warning), .. }) => {
            page(StatusCode::OK, &change::with_warning(&admin.status(), &gateway, &warning))
        }
        Err((status, text)) => refused(status, &text),
    }
}
