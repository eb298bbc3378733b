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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;
    use crate::net::tls::{Trust, client_config, identity, server_config};

    #[tokio::test]
    async fn records_that_have_come_together_are_read_one_by_one() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = certificate.self_signed(&key).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let server = server_config(&identity(vec![certificate], key).unwrap()).unwrap();
        let client = Arc::new(Arc::unwrap_or_clone(client_config(&Trust::Anyone, None).unwrap()));
        let (ours, theirs) = tokio::io::duplex(100_000);
        let connector = TlsConnector::from(client);
        let name = ServerName::try_from("localhost").unwrap();
        let (mut writer, reader) =
            tokio::join!(connector.connect(name, theirs), TlsAcceptor::from(server).accept(ours));
        let (writer, mut reader) = (writer.as_mut().unwrap(), Records(reader.unwrap()));
        let packets = [&b"one"[..], b"two", &[7; 16_000], b"three"];
        for packet in packets {
            writer.write_all(packet).await.unwrap();
            writer.flush().await.unwrap();
        }
        let mut buffer = vec![0; 64 * 1024];
        for packet in packets {
            let length = reader.read(&mut buffer).await.unwrap();
            assert_eq!(buffer[..length], *packet);
        }
        writer.shutdown().await.unwrap();
        assert_eq!(reader.read(&mut buffer).await.unwrap(), 0);
    }
}
