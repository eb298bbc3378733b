//! A client that speaks HTTP/1.1 to the letter and takes answers apart.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::support::{PATIENCE, Running, header, status};

/// A client on one connection.
pub struct Client {
    pub stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    /// All up to the empty line.
    pub head: String,
    /// Without its chunks' sizes.
    pub body: Vec<u8>,
}

impl Answer {
    pub fn status(&self) -> u16 {
        status(&self.head)
    }

    /// The value of a header whose name is written like this.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    pub async fn connect(farm: &Running) -> Self {
        Self::over(farm.connect().await)
    }

    pub fn over(stream: TlsStream<TcpStream>) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Sends a request and reads the answer to it.
    pub async fn ask(&mut self, request: &[u8]) -> Answer {
        self.send(request).await;
        self.answer().await
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await
    }

    pub async fn post(&mut self, path: &str, body: &str) -> Answer {
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        self.ask((head + body).as_bytes()).await
    }

    /// The head of the next answer, and nothing of what follows.
    pub async fn head(&mut self) -> String {
        let length = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.read_more().await > 0, "no whole head: {}", self.buffer.escape_ascii());
        };
        String::from_utf8(self.take(length)).unwrap()
    }

    /// The next answer, to anything but HEAD.
    pub async fn answer(&mut self) -> Answer {
        let head = self.head().await;
        let body = if matches!(status(&head), 204 | 304) {
            Vec::new()
        } else if header(&head, "Transfer-Encoding") == Some("chunked") {
            self.chunks().await
        } else if let Some(length) = header(&head, "Content-Length") {
            self.exactly(length.parse().unwrap()).await
        } else {
            self.rest().await
        };
        Answer { head, body }
    }

    /// So many bytes.
    pub async fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(self.read_more().await > 0, "cut short: {}", self.buffer.escape_ascii());
        }
        self.take(length)
    }

    /// What comes next, whatever it is; empty at the end of the connection.
    pub async fn some(&mut self) -> Vec<u8> {
        if self.buffer.is_empty() {
            self.read_more().await;
        }
        std::mem::take(&mut self.buffer)
    }

    /// What comes up to the end of the connection, which must be in order.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.read_more().await > 0 {}
        std::mem::take(&mut self.buffer)
    }

    /// The connection is over, in order, and nothing more has come.
    pub async fn is_told_goodbye(&mut self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "{}", rest.escape_ascii());
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let size = loop {
                if let Some(at) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                    break String::from_utf8(self.take(at + 2)).unwrap();
                }
                assert!(self.read_more().await > 0, "no whole chunk: {}", self.buffer.escape_ascii());
            };
            let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
            let chunk = self.exactly(size + 2).await;
            assert!(chunk.ends_with(b"\r\n"), "{}", chunk.escape_ascii());
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                return body;
            }
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        self.buffer.drain(..length).collect()
    }

    async fn read_more(&mut self) -> usize {
        let mut piece = [0; 16 * 1024];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut piece)).await;
        let read = read.expect("an answer in time").expect("no end out of order");
        self.buffer.extend_from_slice(&piece[..read]);
        read
    }
}
