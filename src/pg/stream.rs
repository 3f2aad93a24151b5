//! The bytes of one session, encrypted or not, with an eye on what the server says first.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use super::failure::Answered;
use super::resolve::Methods;

/// What a session runs over: a socket, or TLS over a socket.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// What has been seen of the server in one attempt, kept outside of it: an attempt that ran out of time is gone.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<Seen>>);

/// See [`Watch`].
#[derive(Default)]
pub struct Seen {
    /// The connection was accepted.
    pub accepted: bool,
    /// Something came that a PostgreSQL server says.
    pub spoke: bool,
    /// TLS is in use.
    pub tls: bool,
    /// This side's address, if it is TCP.
    pub local: Option<IpAddr>,
    /// The authentication method that the server asked for and this side did not agree to.
    pub refused: Option<&'static str>,
    /// The beginning of what the server sent after the startup packet.
    head: Vec<u8>,
}

impl Watch {
    /// Looks at it.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what belongs to one try, and keeps what says something about the server.
    pub fn start_again(&self) {
        let mut seen = self.seen();
        *seen = Seen { accepted: seen.accepted, spoke: seen.spoke, ..Seen::default() };
    }

    /// Says what it means for the server being alive.
    pub fn answered(&self) -> Answered {
        let seen = self.seen();
        match (seen.spoke, seen.accepted) {
            (true, _) => Answered::Spoke,
            (false, true) => Answered::Silent,
            (false, false) => Answered::Nothing,
        }
    }
}

impl Seen {
    /// Takes in what the server sent.
    ///
    /// An authentication request is 9 bytes or more, and the driver answers it only when it is complete: so a method can
    /// be refused here, before a password leaves.
    fn take_in(&mut self, bytes: &[u8], methods: Methods) -> Result<(), &'static str> {
        let wanted = 9_usize.saturating_sub(self.head.len());
        if wanted == 0 {
            return Ok(());
        }
        self.head.extend(bytes.iter().take(wanted));
        self.spoke |= self.head.first().is_some_and(|first| b"RENv".contains(first));
        let refused = match self.authentication() {
            Some(0) if !methods.none => "no authentication",
            Some(3) if !methods.password => "a password in clear text",
            Some(5) if !methods.md5 => "MD5",
            Some(10) if !methods.scram => "SCRAM-SHA-256",
            _ => return Ok(()),
        };
        self.refused = Some(refused);
        Err(refused)
    }

    /// Returns the code of the server's first authentication request.
    pub fn authentication(&self) -> Option<u32> {
        match *self.head.as_slice() {
            [b'R', _, _, _, _, a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d])),
            _ => None,
        }
    }
}

/// The stream that the driver is given.
pub struct Stream {
    io: Box<dyn Io>,
    /// What SCRAM binds to, if this is TLS.
    end_point: Option<Vec<u8>>,
    methods: Methods,
    watch: Watch,
}

impl Stream {
    /// Wraps what is ready for the startup packet.
    pub fn new(io: Box<dyn Io>, end_point: Option<Vec<u8>>, methods: Methods, watch: Watch) -> Self {
        Self { io, end_point, methods, watch }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = polled {
            let new = buf.filled().get(before..).unwrap_or_default();
            if let Err(refused) = self.watch.seen().take_in(new, self.methods) {
                return Poll::Ready(Err(io::Error::other(refused)));
            }
        }
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl TlsStream for Stream {
    fn channel_binding(&self) -> ChannelBinding {
        match &self.end_point {
            Some(bytes) => ChannelBinding::tls_server_end_point(bytes.clone()),
            None => ChannelBinding::none(),
        }
    }
}

/// Tells the driver that encryption is settled.
///
/// The driver's own negotiation knows neither libpq's second tries nor what to say when it fails, so all of that happens
/// before it sees the stream. With `SslNegotiation::Direct` it sends no request of its own.
pub struct Settled;

impl TlsConnect<Stream> for Settled {
    type Stream = Stream;
    type Error = Infallible;
    type Future = Ready<Result<Stream, Infallible>>;

    fn connect(self, stream: Stream) -> Self::Future {
        ready(Ok(stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Methods = Methods { none: true, password: true, md5: true, scram: true };

    #[test]
    fn a_method_not_agreed_to_is_refused_before_the_request_is_complete_for_the_driver() {
        let request = [b'R', 0, 0, 0, 8, 0, 0, 0, 3];
        for cut in 0..9 {
            let mut seen = Seen::default();
            let methods = Methods { password: false, ..ALL };
            seen.take_in(&request[..cut], methods).unwrap();
            assert_eq!(seen.take_in(&request[cut..], methods), Err("a password in clear text"));
        }
        let mut seen = Seen::default();
        seen.take_in(&request, ALL).unwrap();
        assert_eq!(seen.authentication(), Some(3));
    }

    #[test]
    fn only_what_a_postgresql_server_says_counts_as_speaking() {
        for (bytes, spoke) in
            [(&b"E"[..], true), (b"R", true), (b"SSH-2.0", false), (b"HTTP/1.1", false), (b"", false)]
        {
            let mut seen = Seen::default();
            seen.take_in(bytes, ALL).unwrap();
            assert_eq!(seen.spoke, spoke);
        }
    }
}
