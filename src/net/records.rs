//! TLS records, kept apart.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

/// A TLS stream that is read one record at a time.
///
/// VPN clients and gateways take each TLS record for one packet: openconnect reads once and refuses what is
/// longer than the packet that begins there, and ocserv ends a session over two packets in one record. Who
/// passes on each read with one write keeps the records as they were.
#[derive(Debug)]
pub struct Records<S>(pub S);

impl<S> Records<S> {
    /// The TLS stream itself.
    pub fn get_ref(&self) -> &S {
        &self.0
    }
}

impl<S: AsyncBufRead + Unpin> AsyncRead for Records<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // what a TLS stream has ready first is what is left of one record
        let record = ready!(Pin::new(&mut self.0).poll_fill_buf(cx))?;
        let length = record.len().min(buf.remaining());
        buf.put_slice(record.get(..length).unwrap_or_default());
        Pin::new(&mut self.0).consume(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Records<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
