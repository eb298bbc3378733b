//! What a proxy makes of requests that could be read in two ways.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vestibule::front::Forwarded;

use crate::gateway::{RawGateway, Then, ok, proxy_to};
use crate::support::{PATIENCE, Running};
use Expect::{Alone, Arrives, Broken, CutOff, Refused};

/// What becomes of bytes that are followed by a harmless request.
enum Expect {
    /// They arrive as this, and the harmless request after them.
    Arrives(&'static [u8]),
    /// They arrive as this, and the connection is over.
    Alone(&'static [u8]),
    /// The answer has this status, the connection is over, and no gateway has got a byte.
    Refused(u16),
    /// There is no answer, the connection is over, and no gateway has got a byte.
    CutOff,
    /// They break off in the middle of a body. The answer is 400, and what has arrived is the beginning of
    /// this, without its last byte, on a connection that is over.
    Broken(&'static [u8]),
}

/// What follows all bytes; whoever ends a request elsewhere than the front door does not see it as it is.
const NEXT: &[u8] = b"GET /next HTTP/1.1\r\nHost: next\r\nConnection: close\r\n\r\n";
const NEXT_ARRIVED: &[u8] = b"GET /next HTTP/1.1\r\nHost: next\r\n\r\n";

/// A plain POST with a body of 5 bytes, as a gateway gets it.
const POST_5: &[u8] = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
const POST_CHUNKED: &[u8] =
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const GET_A: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n";

const LENGTHS: &[(&[u8], Expect)] = &[
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", Arrives(POST_5)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", Arrives(POST_5)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: \t5\t \r\n\r\nhello", Arrives(POST_5)),
    // a leading zero means octal to some
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 010\r\n\r\n0123456789",
        Arrives(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789"),
    ),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nhello", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5,6\r\n\r\nhello", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\nhello", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\nhello", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5 5\r\n\r\nhello", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5.0\r\n\r\nhello", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5;\r\n\r\nhello", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: \"5\"\r\n\r\nhello", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\nhello", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\nhello", Refused(400)),
    // nobody is to wait for a body that does not come
    (
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
        Arrives(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
    ),
    (
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        Arrives(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"),
    ),
    // what some gateways take for a hyphen
    (b"GET / HTTP/1.1\r\nHost: x\r\nContent_Length: 100\r\n\r\n", Arrives(GET)),
    (b"GET / HTTP/1.1\r\nHost: x\r\ntransfer_encoding: chunked\r\n\r\n", Arrives(GET)),
    (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding_: chunked\r\n\r\n", Arrives(
        b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding_: chunked\r\n\r\n",
    )),
    // what a message cannot do without is not taken away
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: Content-Length, Host, Content-Type, Cookie, Authorization\r\nContent-Length: 5\r\nContent-Type: a/b\r\nCookie: c=d\r\nAuthorization: e\r\n\r\nhello",
        Arrives(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Type: a/b\r\nCookie: c=d\r\nAuthorization: e\r\n\r\nhello"),
    ),
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Arrives(POST_CHUNKED),
    ),
];

const CODINGS: &[(&[u8], Expect)] = &[
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Arrives(POST_CHUNKED),
    ),
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \tCHUNKED \r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Arrives(POST_CHUNKED),
    ),
    // RFC 9112 §6.1: the coding counts alone, and the connection is closed afterwards
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Alone(POST_CHUNKED),
    ),
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Alone(POST_CHUNKED),
    ),
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: , chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \"chunked\"\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked;a=b\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \xa0chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Refused(400),
    ),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n\r\n", Refused(400)),
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: identity\r\n\r\nhello",
        Refused(400),
    ),
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        b"POST / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Refused(400),
    ),
];

const CHUNKS: &[(&[u8], Expect)] = &[
    // extensions and trailers stay behind
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b;c=\"d\"\r\nhello\r\n0;e\r\n\r\n",
        Arrives(POST_CHUNKED),
    ),
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\nContent-Length: 5\r\nHost: y\r\n\r\n",
        Arrives(POST_CHUNKED),
    ),
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
        Arrives(POST_CHUNKED),
    ),
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n00005\r\nhello\r\n000\r\n\r\n",
        Arrives(POST_CHUNKED),
    ),
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n",
        Arrives(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"),
    ),
    // spaces after the size are read over
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5 \t\r\nhello\r\n0\r\n\r\n",
        Arrives(POST_CHUNKED),
    ),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5x\r\nhello\r\n0\r\n\r\n", Broken(POST_CHUNKED)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", Broken(POST_CHUNKED)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n", Broken(POST_CHUNKED)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", Broken(POST_CHUNKED)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n", Broken(POST_CHUNKED)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5 5\r\nhello\r\n0\r\n\r\n", Broken(POST_CHUNKED)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n", Broken(POST_CHUNKED)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n;a=b\r\nhello\r\n0\r\n\r\n", Broken(POST_CHUNKED)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n", Broken(POST_CHUNKED)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", Broken(POST_CHUNKED)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\rhello\r\n0\r\n\r\n", Broken(POST_CHUNKED)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n", Broken(POST_CHUNKED)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n", Broken(POST_CHUNKED)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n", Broken(POST_CHUNKED)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello, world\r\n0\r\n\r\n", Broken(POST_CHUNKED)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\rX", Broken(POST_CHUNKED)),
];

const LINES: &[(&[u8], Expect)] = &[
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", Arrives(GET)),
    // RFC 9112 §2.2: empty lines before a request
    (b"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", Arrives(GET)),
    // and bare LF for a line's end, which is written anew
    (b"GET / HTTP/1.1\nHost: x\nA: b\n\n", Arrives(GET_A)),
    (b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\n", Arrives(GET_A)),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: \t b\t \r\n\r\n", Arrives(GET_A)),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA:b\r\n\r\n", Arrives(GET_A)),
    (
        b"GET / HTTP/1.1\r\nHost: x\r\nA: \xff\x80\r\n\r\n",
        Arrives(b"GET / HTTP/1.1\r\nHost: x\r\nA: \xff\x80\r\n\r\n"),
    ),
    // obs-fold
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\tc\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA:\r\n b\r\n\r\n", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nA: b\r\n Content-Length: 5\r\n\r\nhello", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\n Host: x\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\n\tA: b\r\nHost: x\r\n\r\n", Refused(400)),
    // bare CR
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\rC: d\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\rHost: x\r\r", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x\r\n\rA: b\r\n\r\n", Refused(400)),
    // names
    (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nhello", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA B: c\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA\0: b\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA\x01: b\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA\xe9: b\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x\r\n\"A\": b\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA(b): c\r\n\r\n", Refused(400)),
    // values
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: \x01\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x0bc\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x7f\r\n\r\n", Refused(400)),
    // versions
    (b"GET /\r\n", Refused(400)),
    (b"GET /\r\nHost: x\r\n\r\n", Refused(400)),
    (b"GET / HTTP/0.9\r\nHost: x\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.2\r\nHost: x\r\n\r\n", Refused(400)),
    (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.10\r\nHost: x\r\n\r\n", Refused(400)),
    (b"GET / http/1.1\r\nHost: x\r\n\r\n", Refused(400)),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", CutOff),
    (b"GET / HTTP/1.0\r\nHost: x\r\n\r\n", Alone(GET)),
    (b"GET / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", Arrives(GET)),
    // spaces in the request line
    (b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", Refused(400)),
    (b"GET /  HTTP/1.1\r\nHost: x\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n", Refused(400)),
    (b"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n", Refused(400)),
    (b" GET / HTTP/1.1\r\nHost: x\r\n\r\n", Refused(400)),
    (b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", Refused(400)),
    // methods
    (b"get / HTTP/1.1\r\nHost: x\r\n\r\n", Arrives(b"get / HTTP/1.1\r\nHost: x\r\n\r\n")),
    (b"G:T / HTTP/1.1\r\nHost: x\r\n\r\n", Refused(400)),
    (b"G\0T / HTTP/1.1\r\nHost: x\r\n\r\n", Refused(400)),
    (b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", Refused(405)),
];

const TARGETS: &[(&[u8], Expect)] = &[
    (b"GET //a/b?c//d HTTP/1.1\r\nHost: x\r\n\r\n", Arrives(b"GET //a/b?c//d HTTP/1.1\r\nHost: x\r\n\r\n")),
    (
        b"GET /a/../%2e%00%0d%0a HTTP/1.1\r\nHost: x\r\n\r\n",
        Arrives(b"GET /a/../%2e%00%0d%0a HTTP/1.1\r\nHost: x\r\n\r\n"),
    ),
    (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", Arrives(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")),
    (b"GET * HTTP/1.1\r\nHost: x\r\n\r\n", Refused(400)),
    (b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n", Refused(400)),
    (b"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n", Refused(400)),
    (b"GET /\x7f HTTP/1.1\r\nHost: x\r\n\r\n", Refused(400)),
    (b"GET /\r HTTP/1.1\r\nHost: x\r\n\r\n", Refused(400)),
    // no target has a fragment (RFC 9112 §3.2)
    (b"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n", Arrives(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")),
    (b"GET x HTTP/1.1\r\nHost: x\r\n\r\n", Refused(400)),
    (b"GET x:443 HTTP/1.1\r\nHost: x\r\n\r\n", Refused(400)),
    (b"GET a/b HTTP/1.1\r\nHost: x\r\n\r\n", Refused(400)),
    (b"GET ?a HTTP/1.1\r\nHost: x\r\n\r\n", Refused(400)),
    // the target's host is the one that counts (RFC 9112 §3.2.2)
    (
        b"GET https://y:8443/a?b HTTP/1.1\r\nHost: x\r\n\r\n",
        Arrives(b"GET /a?b HTTP/1.1\r\nHost: y:8443\r\n\r\n"),
    ),
    (
        b"GET http://y HTTP/1.1\r\nA: b\r\nHost: x\r\n\r\n",
        Arrives(b"GET / HTTP/1.1\r\nA: b\r\nHost: y\r\n\r\n"),
    ),
    (b"GET http://u@y/ HTTP/1.1\r\nHost: y\r\n\r\n", Refused(400)),
    (b"GET http://u:p@y/ HTTP/1.1\r\nHost: y\r\n\r\n", Refused(400)),
    (b"GET http:///a HTTP/1.1\r\nHost: x\r\n\r\n", Refused(400)),
    (b"GET http://y/ HTTP/1.1\r\n\r\n", Refused(400)),
    // Host
    (b"GET / HTTP/1.1\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x\r\nhost: x\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: u@x\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x y\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x, y\r\n\r\n", Refused(400)),
    // one name (RFC 3986 §3.2.2), however odd
    (b"GET / HTTP/1.1\r\nHost: x,y\r\n\r\n", Arrives(b"GET / HTTP/1.1\r\nHost: x,y\r\n\r\n")),
    (b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x?y\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x#y\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: http://x\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x:8443y\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x:99999\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x:+80\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: x:80@x:80\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: \xe9\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n", Arrives(b"GET / HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n")),
    (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", Arrives(b"GET / HTTP/1.1\r\nHost:\r\n\r\n")),
    (b"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.0\r\nHost: u@x\r\n\r\n", Refused(400)),
];

const TUNNELS: &[(&[u8], Expect)] = &[
    // no way around all this with HTTP/2 in the clear (RFC 7540 §3.2, gone with RFC 9113), or TLS within
    (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
        Arrives(GET),
    ),
    (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: H2C\r\n\r\n", Arrives(GET)),
    (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: TLS/1.2, HTTP/1.1\r\n\r\n", Arrives(GET)),
    (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n", Arrives(GET)),
    (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: HTTP/2.0\r\n\r\n",
        Arrives(GET),
    ),
    // an upgrade is asked for on both lines, with HTTP/1.1 and without a body, or not at all
    (b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n", Arrives(GET)),
    (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\r\n", Arrives(GET)),
    (b"GET / HTTP/1.0\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", Alone(GET)),
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello",
        Arrives(POST_5),
    ),
    // a refused one: what follows may be meant for whatever was asked for
    (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        Alone(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
    ),
    (b"CONNECT /tunnel HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", Refused(400)),
    (
        b"CONNECT /tunnel HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Refused(400),
    ),
    (b"CONNECT u@x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", Refused(400)),
];

#[tokio::test]
async fn lengths_are_read_in_one_way() {
    all_become(LENGTHS).await;
}

#[tokio::test]
async fn transfer_codings_are_read_in_one_way() {
    all_become(CODINGS).await;
}

#[tokio::test]
async fn chunks_are_read_in_one_way() {
    all_become(CHUNKS).await;
}

#[tokio::test]
async fn lines_are_read_in_one_way() {
    all_become(LINES).await;
}

#[tokio::test]
async fn targets_and_hosts_are_read_in_one_way() {
    all_become(TARGETS).await;
}

#[tokio::test]
async fn nothing_is_smuggled_past_a_tunnel_that_does_not_come_about() {
    all_become(TUNNELS).await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_and_one_that_just_fits_arrives_whole() {
    let gateway = RawGateway::start(|_, _| Then::Answer(ok("x"))).await;
    let farm = Running::with(1, |settings| {
        settings.workers = 1;
        settings.listeners[0].limits.header_bytes = 16 * 1024;
        proxy_to(settings, &[gateway.address], |proxy| proxy.forwarded = Forwarded::None);
    })
    .await;
    let with = |headers: &str| format!("GET / HTTP/1.1\r\nHost: x\r\n{headers}\r\n").into_bytes();
    let many = |count| with(&(0..count).map(|n| format!("A-{n}: b\r\n")).collect::<String>());
    let long = |length| with(&format!("A: {}\r\n", "b".repeat(length)));
    for head in [many(101), long(17 * 1024), long(200 * 1024)] {
        let answers = exchange(&farm, &[&head, NEXT].concat()).await;
        assert!(answers.starts_with("HTTP/1.1 431 "), "{answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1);
    }
    assert_eq!(gateway.connections(), 0);
    for head in [many(99), long(15 * 1024)] {
        let before = all_bytes(&gateway).len();
        let answers = exchange(&farm, &[&head, NEXT].concat()).await;
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
        assert!(all_bytes(&gateway).split_off(before) == [&head, NEXT_ARRIVED].concat());
    }
    farm.stop().await.unwrap();
}

/// Sends each, with the next request right behind it, over a connection of its own, and looks at what comes
/// to the gateway on its one connection that is kept.
async fn all_become(table: &[(&[u8], Expect)]) {
    let gateway = RawGateway::start(|_, _| Then::Answer(ok("x"))).await;
    let farm = Running::with(1, |settings| {
        settings.workers = 1;
        // a request that is never complete is one that was misread
        settings.listeners[0].limits.header_timeout = PATIENCE / 4;
        proxy_to(settings, &[gateway.address], |proxy| proxy.forwarded = Forwarded::None);
    })
    .await;
    let mut wrong = Vec::new();
    for (sent, expected) in table {
        let (before, connections) = (all_bytes(&gateway), gateway.seen());
        let answers = exchange(&farm, &[sent, NEXT].concat()).await;
        if let Broken(_) = expected {
            // the connection that was kept, or a new one; what is still on its way arrives before its end
            let is_new = connections.iter().all(|seen| seen.is_over);
            let count = connections.len() + usize::from(is_new);
            gateway.until(|seen| seen.len() == count && seen.iter().all(|seen| seen.is_over)).await;
        }
        let arrived = all_bytes(&gateway).split_off(before.len());
        let answered = answers.matches(" 200 OK\r\n").count();
        let is_first = |code: u16| {
            ["1.0", "1.1"].iter().any(|version| answers.starts_with(&format!("HTTP/{version} {code} ")))
        };
        let is_right = match expected {
            Arrives(whole) => arrived == [whole, NEXT_ARRIVED].concat() && answered == 2,
            Alone(whole) => arrived == *whole && answered == 1,
            Refused(code) => arrived.is_empty() && is_first(*code) && answered == 0,
            CutOff => arrived.is_empty() && answers.is_empty(),
            Broken(whole) => {
                arrived.len() < whole.len() && whole.starts_with(&arrived) && is_first(400) && answered == 0
            }
        };
        if !is_right {
            let (sent, arrived) = (sent.escape_ascii(), arrived.escape_ascii());
            wrong.push(format!("sent:     {sent}\narrived:  {arrived}\nanswers:  {answers:?}\n"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    farm.stop().await.unwrap();
}

/// All that has come to a gateway, one connection after the other.
fn all_bytes(gateway: &RawGateway) -> Vec<u8> {
    gateway.seen().into_iter().flat_map(|seen| seen.bytes).collect()
}

/// All answers up to the end of the connection.
async fn exchange(farm: &Running, request: &[u8]) -> String {
    let mut stream = farm.connect().await;
    stream.write_all(request).await.unwrap();
    let mut answers = Vec::new();
    let read = tokio::time::timeout(PATIENCE / 2, stream.read_to_end(&mut answers)).await;
    let answers = String::from_utf8_lossy(&answers).into_owned();
    match read {
        Ok(Ok(_)) => answers,
        Ok(Err(error)) => format!("not closed in order: {error}, after {answers}"),
        Err(_) => format!("not closed in time, after {answers}"),
    }
}
