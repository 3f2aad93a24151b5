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
use super::frames::{Frames, Request};
use super::resolve::Methods;

/// What a session runs over: a socket, or TLS over a socket.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// What has been seen of the server in one attempt, kept outside of it: an attempt that ran out of time is gone.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<AttemptObservations>>);

/// See [`Watch`].
#[derive(Default)]
pub struct AttemptObservations {
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
    /// The code of the server's first authentication request.
    pub asked: Option<u32>,
    /// The password was asked for, and may be sent, as it is, over a network where others can read it.
    pub exposed: bool,
    /// The password was asked for in a way that gives it away to a server that may be another one.
    pub withheld: bool,
    /// What it said is more than a server has to say.
    pub excess: Option<String>,
}

impl Watch {
    /// Looks at it.
    pub fn observations(&self) -> MutexGuard<'_, AttemptObservations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what belongs to one try, and keeps what says something about the server.
    pub fn start_again(&self) {
        let mut seen = self.observations();
        *seen = AttemptObservations {
            accepted: seen.accepted,
            spoke: seen.spoke,
            ..AttemptObservations::default()
        };
    }

    /// Says what it means for the server being alive.
    pub fn answered(&self) -> Answered {
        let seen = self.observations();
        match (seen.spoke, seen.accepted) {
            (true, _) => Answered::Spoke,
            (false, true) => Answered::Silent,
            (false, false) => Answered::Nothing,
        }
    }
}

impl AttemptObservations {
    /// Judges an authentication request, before the driver can answer it and a password leaves.
    fn judge(&mut self, request: Request, terms: &Terms) -> io::Result<()> {
        self.asked.get_or_insert(request.code);
        let methods = terms.methods;
        let refused = match request.code {
            0 if request.first && !methods.none => "no authentication",
            3 if !methods.password => "a password in clear text",
            5 if !methods.md5 => "MD5",
            10 if !methods.scram => "SCRAM-SHA-256",
            3 if !terms.cleartext => {
                self.withheld = true;
                "a password in clear text"
            }
            5 if !terms.md5 => {
                self.withheld = true;
                "an MD5 hash of the password"
            }
            code => {
                self.exposed |= code == 3 && terms.open;
                return Ok(());
            }
        };
        self.refused = Some(refused);
        Err(io::Error::other(refused))
    }
}

/// How this side proves who it is.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The methods agreed to.
    pub methods: Methods,
    /// The password may be sent as it is.
    pub cleartext: bool,
    /// Its MD5 hash may be sent.
    pub md5: bool,
    /// Others can read what is sent.
    pub open: bool,
}

/// The stream that the driver is given.
pub struct Stream {
    io: Box<dyn Io>,
    /// What SCRAM binds to, if this is TLS.
    end_point: Option<Vec<u8>>,
    terms: Terms,
    watch: Watch,
    frames: Frames,
}

impl Stream {
    /// Wraps what is ready for the startup packet.
    pub fn new(io: Box<dyn Io>, end_point: Option<Vec<u8>>, terms: Terms, watch: Watch) -> Self {
        Self { io, end_point, terms, watch, frames: Frames::default() }
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
            let Self { frames, watch, terms, .. } = &mut *self;
            let mut seen = watch.observations();
            if !frames.has_begun() {
                seen.spoke |= new.first().is_some_and(|first| b"RENv".contains(first));
            }
            if let Err(error) = frames.take_in(new, |request| seen.judge(request, terms)) {
                if seen.refused.is_none() {
                    seen.excess = Some(error.to_string());
                }
                return Poll::Ready(Err(error));
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

/// Informs the driver that encryption is settled.
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

    const METHODS: Methods = Methods { none: true, password: true, md5: true, scram: true };
    const ALL: Terms = Terms { methods: METHODS, cleartext: true, md5: true, open: false };

    /// A server that says only this.
    fn stream(said: &'static [u8], terms: Terms) -> (Stream, Watch) {
        let watch = Watch::default();
        let io = Box::new(tokio::io::join(said, tokio::io::sink()));
        (Stream::new(io, None, terms, watch.clone()), watch)
    }

    async fn read(said: &'static [u8], terms: Terms) -> (io::Result<usize>, Watch) {
        let (mut stream, watch) = stream(said, terms);
        let read = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 100]).await;
        (read, watch)
    }

    #[tokio::test]
    async fn a_method_not_agreed_to_is_refused_before_the_driver_has_the_request() {
        let request = b"N\0\0\0\x05\0R\0\0\0\x08\0\0\0\x03";
        let (read_so_far, watch) =
            read(request, Terms { methods: Methods { password: false, ..METHODS }, ..ALL }).await;
        assert!(read_so_far.is_err());
        assert!(!watch.observations().withheld);
        let seen = |watch: &Watch| {
            let seen = watch.observations();
            (seen.refused, seen.asked)
        };
        assert_eq!(seen(&watch), (Some("a password in clear text"), Some(3)));
        let (read_so_far, watch) = read(request, ALL).await;
        assert_eq!(read_so_far.unwrap(), request.len());
        assert_eq!(seen(&watch), (None, Some(3)));
        assert!(!watch.observations().exposed);
    }

    #[tokio::test]
    async fn a_password_is_withheld_from_a_server_that_would_only_take_it() {
        let clear = b"R\0\0\0\x08\0\0\0\x03";
        let md5 = b"R\0\0\0\x0c\0\0\0\x05abcd";
        let withheld = async |request, terms| {
            let (result, watch) = read(request, terms).await;
            assert_eq!(result.is_err(), watch.observations().withheld);
            watch.observations().withheld
        };
        assert!(withheld(clear, Terms { cleartext: false, ..ALL }).await);
        assert!(!withheld(clear, Terms { md5: false, ..ALL }).await);
        assert!(withheld(md5, Terms { md5: false, ..ALL }).await);
        assert!(!withheld(md5, Terms { cleartext: false, ..ALL }).await);
        assert!(read(clear, Terms { open: true, ..ALL }).await.1.observations().exposed);
        assert!(!read(md5, Terms { open: true, ..ALL }).await.1.observations().exposed);
    }

    #[tokio::test]
    async fn only_what_a_postgresql_server_says_counts_as_speaking() {
        for (bytes, spoke) in
            [(&b"E"[..], true), (b"R", true), (b"SSH-2.0", false), (b"HTTP/1.1", false), (b"", false)]
        {
            assert_eq!(read(bytes, ALL).await.1.observations().spoke, spoke);
        }
    }
}
