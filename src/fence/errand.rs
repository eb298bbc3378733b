use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use serde::Serialize;

use super::duty::Request;
use super::news::Operation;
use crate::net::client::{Client, ClientError, Question};

/// Why an agent has not done what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It gave no answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It gave none in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// It was to begin a block, and is kept open by somebody of whom we did not know.
    #[error("another front door keeps the gateway open since")]
    KeptOpen,
    /// It has answered otherwise.
    #[error("{}", in_words(*.0))]
    Status(StatusCode),
    /// What it is to be asked cannot be written.
    #[error("the request cannot be made")]
    Json(#[from] serde_json::Error),
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    lease_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_open_by: Option<&'a [Arc<str>]>,
}

/// Asks an agent for something in the name of `holder`, and waits for its answer no longer than `deadline`.
pub async fn ask(
    client: &mut Client,
    request: &Request,
    holder: &str,
    lease: Duration,
    deadline: Duration,
) -> Result<(), Refusal> {
    let (method, room) = match request {
        Request::Block { .. } => (Method::PUT, "fence"),
        Request::Unblock => (Method::DELETE, "fence"),
        Request::KeepOpen { .. } => (Method::PUT, "keep-open"),
        Request::LetGo => (Method::DELETE, "keep-open"),
    };
    let (reason, kept_open_by) = match request {
        Request::Block { reason, kept_open_by, .. } => (Some(short(reason)), Some(&**kept_open_by)),
        Request::Unblock | Request::KeepOpen { .. } | Request::LetGo => (None, None),
    };
    let path = format!("/v1/{room}/{}", escaped(holder));
    let mut question = Question { method, ..Question::get(&path) };
    if question.method == Method::PUT {
        // whole seconds, and not fewer than were meant
        let lease_seconds = lease.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX);
        let body = Body { reason: reason.as_deref(), lease_seconds, kept_open_by };
        question.body = Bytes::from(serde_json::to_vec(&body)?);
        question.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let answer = tokio::time::timeout(deadline, client.ask(&question, ANSWER_LIMIT)).await;
    let answer = answer.map_err(|_| Refusal::Timeout(deadline))??;
    match answer.status {
        status if status.is_success() => Ok(()),
        StatusCode::PRECONDITION_FAILED if kept_open_by.is_some() => Err(Refusal::KeptOpen),
        status => Err(Refusal::Status(status)),
    }
}

impl Request {
    /// What it comes to.
    pub fn operation(&self) -> Operation {
        match self {
            Self::Block { .. } => Operation::Block,
            Self::Unblock => Operation::Unblock,
            Self::KeepOpen { .. } => Operation::KeepOpen,
            Self::LetGo => Operation::LetGo,
        }
    }
}

/// An answer holds the agent's fence, with some hundred holders at the most.
const ANSWER_LIMIT: usize = 256 * 1024;
/// Longer ones are cut: agents take so much and no more.
const REASON_LIMIT: usize = 200;

fn short(reason: &str) -> String {
    reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REASON_LIMIT).collect()
}

/// As a segment of a path (RFC 3986 §3.3): a certificate may have any name.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    name.bytes().map(escape).collect()
}

fn in_words(status: StatusCode) -> String {
    let hint = match status {
        StatusCode::FORBIDDEN => ": the agent knows this front door by another name",
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => ": the agent knows no fence",
        StatusCode::CONFLICT => ": the agent has no fence",
        StatusCode::SERVICE_UNAVAILABLE => ": the agent's firewall cannot be set",
        _ => "",
    };
    format!("{status}{hint}")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::Response;
    use http_body_util::{BodyExt, Full};
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;
    use crate::fleet::Endpoint;
    use crate::net::client::Target;

    /// An agent that answers everything with one status, and tells what it was asked.
    async fn agent(status: u16) -> (Client, mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::parse(&listener.local_addr().unwrap().to_string(), 80).unwrap();
        let (sender, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sender = sender.clone();
                let service = service_fn(move |request: http::Request<Incoming>| {
                    let sender = sender.clone();
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let body = String::from_utf8(body.to_vec()).unwrap();
                        sender.send(format!("{} {} {body}", head.method, head.uri)).unwrap();
                        let answer = Response::builder().status(status).body(Full::<Bytes>::default());
                        Ok::<_, Infallible>(answer.unwrap())
                    }
                });
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
        (Client::new(Target { site: endpoint.into(), tls: None }), asked)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn each_request_is_written_as_the_contract_says() {
        let (mut client, mut asked) = agent(200).await;
        let lease = Duration::from_millis(14_500);
        let kept_open_by = Arc::from(["front-b".into()]);
        let block = Request::Block { reason: Arc::from("portal:\nrefused"), is_new: true, kept_open_by };
        for (request, written) in [
            (
                block,
                "PUT /v1/fence/front%20a \
                 {\"reason\":\"portal: refused\",\"lease_seconds\":15,\"kept_open_by\":[\"front-b\"]}",
            ),
            (Request::Unblock, "DELETE /v1/fence/front%20a "),
            (Request::KeepOpen { is_new: true }, r#"PUT /v1/keep-open/front%20a {"lease_seconds":15}"#),
            (Request::LetGo, "DELETE /v1/keep-open/front%20a "),
        ] {
            ask(&mut client, &request, "front a", lease, SECOND).await.unwrap();
            assert_eq!(asked.recv().await.unwrap(), written);
        }
    }

    #[tokio::test]
    async fn what_an_agent_refuses_is_told_in_words() {
        for (status, words) in [
            (403, "403 Forbidden: the agent knows this front door by another name"),
            (409, "409 Conflict: the agent has no fence"),
            (503, "503 Service Unavailable: the agent's firewall cannot be set"),
            (500, "500 Internal Server Error"),
        ] {
            let (mut client, _asked) = agent(status).await;
            let refused = ask(&mut client, &Request::Unblock, "front-a", SECOND, SECOND).await;
            assert_eq!(refused.unwrap_err().to_string(), words);
        }
    }

    #[tokio::test]
    async fn a_block_that_is_not_begun_since_the_gateway_is_kept_open_is_a_refusal_of_its_own() {
        let (mut client, _asked) = agent(412).await;
        let block = Request::Block { reason: Arc::from("x"), is_new: true, kept_open_by: Arc::from([]) };
        let refused = ask(&mut client, &block, "front-a", SECOND, SECOND).await;
        assert!(matches!(refused, Err(Refusal::KeptOpen)), "{refused:?}");
    }

    #[tokio::test]
    async fn an_agent_that_hangs_is_waited_for_no_longer_than_its_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::parse(&listener.local_addr().unwrap().to_string(), 80).unwrap();
        let mut client = Client::new(Target { site: endpoint.into(), tls: None });
        let deadline = Duration::from_millis(50);
        let refused =
            ask(&mut client, &Request::KeepOpen { is_new: true }, "front-a", SECOND, deadline).await;
        assert!(matches!(refused, Err(Refusal::Timeout(_))), "{refused:?}");
    }
}
