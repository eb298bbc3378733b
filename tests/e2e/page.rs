//! The status page over loopback: who may look, who may change something, and what browsers are told.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{PATIENCE, Running, header, status};

/// `anybody:a-token-for-the-tests`
const BASIC: &str = "Basic YW55Ym9keTphLXRva2VuLWZvci10aGUtdGVzdHM=";
/// A field of a request: its name and its value.
type Header<'a> = (&'a str, &'a str);
const TOKEN: &str = "a-token-for-the-tests";

/// Sends a request of a browser and reads the whole answer: head and body.
async fn ask(admin: SocketAddr, line: &str, headers: &[(&str, &str)], body: &str) -> (String, String) {
    let mut request = format!("{line} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "Host") {
        request.push_str(&format!("Host: {admin}\r\n"));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("\r\n{body}"));
    let exchange = async {
        let mut stream = TcpStream::connect(admin).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = tokio::time::timeout(PATIENCE, exchange).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (format!("{head}\r\n"), body.to_owned())
}

async fn get(farm: &Running, path: &str) -> (String, String) {
    ask(farm.admin, &format!("GET {path}"), &[("Accept", "text/html,*/*")], "").await
}

/// A form of the page, with what else the browser says.
async fn send(farm: &Running, path: &str, headers: &[(&str, &str)], form: &str) -> (String, String) {
    let mut all = vec![("Content-Type", "application/x-www-form-urlencoded")];
    all.extend(headers);
    ask(farm.admin, &format!("POST {path}"), &all, form).await
}

async fn who_drains(farm: &Running) -> Option<String> {
    farm.status().await.gateways[0].drain.as_ref().and_then(|drain| drain.who.clone())
}

#[tokio::test]
async fn every_page_is_shown_and_says_what_a_browser_may_do_with_it() {
    let farm = Running::farm(2).await;
    for path in ["/", "/gateways/gw1", "/gateways/gw1/drain", "/gateways/gw2/resume", "/why", "/why?source=x"]
    {
        let (head, body) = get(&farm, path).await;
        assert_eq!(status(&head), 200, "{path}");
        assert!(body.starts_with("<!DOCTYPE html>") && body.ends_with("</html>"), "{path}: {body}");
        let policy = header(&head, "content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(header(&head, "x-frame-options"), Some("DENY"));
        assert_eq!(header(&head, "referrer-policy"), Some("same-origin"));
        assert_eq!(header(&head, "cache-control"), Some("no-store"));
        let (without_body, nothing) = ask(farm.admin, &format!("HEAD {path}"), &[], "").await;
        assert_eq!((status(&without_body), nothing.as_str()), (200, ""));
    }
}

#[tokio::test]
async fn what_a_page_names_is_there_and_may_be_kept() {
    let farm = Running::farm(1).await;
    let (_, page) = get(&farm, "/").await;
    for kind in ["text/css", "text/javascript", "image/svg+xml"] {
        let name = match kind {
            "text/css" => "/assets/page.css?",
            "text/javascript" => "/assets/page.js?",
            _ => "/assets/icon.svg?",
        };
        let at = page.find(name).unwrap_or_else(|| panic!("{name} is not named"));
        let path = page[at..].split('"').next().unwrap();
        let (head, body) = get(&farm, path).await;
        assert!(header(&head, "content-type").unwrap().starts_with(kind), "{head}");
        assert_eq!(header(&head, "cache-control"), Some("private, max-age=31536000, immutable"));
        assert_eq!(header(&head, "x-content-type-options"), Some("nosniff"));
        assert!(body.len() > 100);
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_page_for_people_and_a_document_for_programs() {
    let farm = Running::farm(1).await;
    for path in ["/nothing", "/gateways/gw9", "/gateways/gw9/drain"] {
        let (head, body) = get(&farm, path).await;
        assert_eq!((status(&head), body.contains("<h1>Not found</h1>")), (404, true), "{path}: {body}");
    }
    let (head, body) = ask(farm.admin, "GET /nothing", &[("Accept", "*/*")], "").await;
    assert_eq!(status(&head), 404);
    assert_eq!(body, "{\"error\":\"there is nothing at this path\"}");
}

#[tokio::test]
async fn a_form_with_the_token_drains_and_resumes_and_says_who() {
    let folder = tempfile::tempdir().unwrap();
    let farm = Running::with(2, |settings| settings.state_dir = Some(folder.path().into())).await;
    let origin = format!("http://{}", farm.admin);
    let own = [("Origin", origin.as_str()), ("Sec-Fetch-Site", "same-origin")];
    let form = format!("token={TOKEN}&name=alice&reason=new+%3Ckernel%3E");
    let (head, _) = send(&farm, "/gateways/gw1/drain", &own, &form).await;
    assert_eq!((status(&head), header(&head, "location")), (303, Some("/gateways/gw1")));
    let drain = farm.status().await.gateways[0].drain.clone().unwrap();
    assert_eq!((drain.who.as_deref(), drain.reason.as_str()), (Some("alice at 127.0.0.1"), "new <kernel>"));
    let (_, page) = get(&farm, "/gateways/gw1").await;
    assert!(page.contains("new &lt;kernel&gt;") && page.contains("/gateways/gw1/resume"), "{page}");
    let (head, _) = send(&farm, "/gateways/gw1/resume", &own, &format!("token={TOKEN}")).await;
    assert_eq!(status(&head), 303);
    assert_eq!(who_drains(&farm).await, None);
    // a browser that knows it already
    let basic = [own[0], own[1], ("Authorization", BASIC)];
    let (head, _) = send(&farm, "/gateways/gw1/drain", &basic, "").await;
    assert_eq!(status(&head), 303);
    assert_eq!(who_drains(&farm).await.as_deref(), Some("anybody at 127.0.0.1"));
}

#[tokio::test]
async fn a_drain_that_could_not_be_stored_says_so_and_does_not_go_on_by_itself() {
    let farm = Running::farm(1).await;
    let origin = format!("http://{}", farm.admin);
    let form = format!("token={TOKEN}");
    let (head, page) = send(&farm, "/gateways/gw1/drain", &[("Origin", &origin)], &form).await;
    assert_eq!(status(&head), 200);
    assert!(page.contains("this is in force, and forgotten when the front door ends"), "{page}");
    // to ask for it again would show the question in the place of the answer
    assert!(!page.contains("<script") && !page.contains("refresh"), "{page}");
    assert!(who_drains(&farm).await.is_some());
}

#[tokio::test]
async fn a_visitor_without_the_token_changes_nothing_and_no_page_of_others_does() {
    let farm = Running::farm(1).await;
    let origin = format!("http://{}", farm.admin);
    let (path, token) = ("/gateways/gw1/drain", format!("token={TOKEN}"));
    let (own, evil) = (("Origin", origin.as_str()), ("Origin", "https://evil.example"));
    let basic = ("Authorization", BASIC);
    let foreign = ("Host", "evil.example:9463");
    let refused: [(u16, &[Header<'_>], &str); 9] = [
        (403, &[own], ""),
        (403, &[own], "token=another"),
        (403, &[own], "token="),
        (403, &[evil], &token),
        (403, &[evil, basic], ""),
        (403, &[("Origin", "null"), basic], ""),
        // a browser too old to say from where, which knows the token
        (403, &[basic], "token="),
        (403, &[own, ("Sec-Fetch-Site", "cross-site"), basic], ""),
        (421, &[foreign, ("Origin", "http://evil.example:9463")], &token),
    ];
    for (code, headers, form) in refused {
        let (head, body) = send(&farm, path, headers, form).await;
        assert_eq!(status(&head), code, "{headers:?} {form}");
        assert!(body.contains("<h1>Refused</h1>"), "{body}");
        assert_eq!(who_drains(&farm).await, None, "{headers:?} {form}");
    }
    let (head, body) = ask(farm.admin, "GET /", &[foreign, ("Accept", "text/html")], "").await;
    assert_eq!((status(&head), body.contains("gw1")), (421, false));
    // no form can send JSON, and nothing else drains over the API
    let (head, _) = send(&farm, "/api/v1/gateways/gw1/drain", &[own], &token).await;
    assert_eq!((status(&head), who_drains(&farm).await), (401, None));
}

#[tokio::test]
async fn where_no_token_is_configured_the_page_says_what_to_do_instead() {
    let farm = Running::with(1, |settings| settings.admin.token = None).await;
    let (_, page) = get(&farm, "/").await;
    assert!(page.contains("vestibule drain") && !page.contains("/gateways/gw1/drain"), "{page}");
    let origin = format!("http://{}", farm.admin);
    let (head, body) = send(&farm, "/gateways/gw1/drain", &[("Origin", &origin)], "token=x").await;
    assert_eq!(status(&head), 403);
    assert!(body.contains("none is configured"), "{body}");
    assert_eq!(who_drains(&farm).await, None);
}

#[tokio::test]
async fn a_form_that_is_none_is_refused() {
    let farm = Running::farm(1).await;
    let origin = format!("http://{}", farm.admin);
    let long = format!("token={TOKEN}&reason={}", "x".repeat(20_000));
    let reason = format!("token={TOKEN}&reason={}", "x".repeat(201));
    for (code, form) in [(413, long), (400, reason)] {
        let (head, _) = send(&farm, "/gateways/gw1/drain", &[("Origin", &origin)], &form).await;
        assert_eq!(status(&head), code);
    }
    let json = [("Content-Type", "application/json"), ("Origin", &origin)];
    let (head, _) = ask(farm.admin, "POST /gateways/gw1/drain", &json, "{}").await;
    assert_eq!((status(&head), who_drains(&farm).await), (415, None));
}
