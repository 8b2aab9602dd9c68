//! A stream that reads more than it is asked for.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_lite::{AsyncRead, AsyncWrite};

use super::stream::Stream;
use crate::base::units::{KIB, to_usize};

/// Bytes read at once: two of the largest TLS records.
const AHEAD_BYTES: usize = to_usize(32 * KIB);

/// Reads from the socket in large pieces: the TLS library asks for 4 KiB at a time.
/// The memory is given back while the connection is idle.
#[derive(Debug)]
pub(super) struct ReadAhead {
    stream: Stream,
    ahead: Vec<u8>,
    /// Bytes of `ahead` that were handed out.
    taken_bytes: usize,
}

impl ReadAhead {
    pub(super) const fn new(stream: Stream) -> Self {
        Self {
            stream,
            ahead: Vec::new(),
            taken_bytes: 0,
        }
    }

    pub(super) const fn stream(&self) -> &Stream {
        &self.stream
    }
}

impl AsyncRead for ReadAhead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.taken_bytes == this.ahead.len() {
            if into.len() >= AHEAD_BYTES {
                return Pin::new(&mut this.stream).poll_read(context, into);
            }
            this.taken_bytes = 0;
            this.ahead.resize(AHEAD_BYTES, 0);
            let reading = Pin::new(&mut this.stream).poll_read(context, &mut this.ahead);
            if let Poll::Ready(Ok(count)) = reading {
                this.ahead.truncate(count);
            } else {
                this.ahead = Vec::new();
                return reading;
            }
        }
        let waiting = this.ahead.get(this.taken_bytes..).unwrap_or_default();
        let count = waiting.len().min(into.len());
        let (from, _) = waiting.split_at(count);
        into.split_at_mut(count).0.copy_from_slice(from);
        this.taken_bytes += count;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for ReadAhead {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _};

    use crate::net::Listener;
    use crate::runtime::run_alone;

    #[test]
    fn bytes_read_ahead_come_in_order_and_the_end_after_them() {
        run_alone(|| async {
            let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let connecting = Stream::connect(listener.address());
            let (stream, writer) = futures_lite::future::zip(listener.accept(), connecting).await;
            let mut ahead = ReadAhead::new(stream.unwrap());
            let mut writer = writer.unwrap();
            let content: Vec<u8> = (0..200_000_usize)
                .map(|at| u8::try_from(at % 251).unwrap())
                .collect();
            let writing = async {
                writer.write_all(&content).await.unwrap();
                writer.shutdown_write();
            };
            let reading = async {
                let mut read: Vec<u8> = Vec::new();
                for piece in [1, 7, 4096, 40_000, 10].into_iter().cycle() {
                    let mut into = vec![0; piece];
                    let count = ahead.read(&mut into).await.unwrap();
                    read.extend(&into[..count]);
                    if count == 0 {
                        break;
                    }
                }
                read
            };
            let ((), read) = futures_lite::future::zip(writing, reading).await;
            assert!(read == content);
            ahead.write_all(b"back").await.unwrap();
            let mut back = [0; 4];
            writer.read_exact(&mut back).await.unwrap();
            assert_eq!(&back, b"back");
        });
    }
}
