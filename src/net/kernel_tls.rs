//! Whether the kernel can take over the encryption of a connection, and how it does.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::OnceLock;

use futures_rustls::rustls::ExtractedSecrets;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{TcpTlsRx, TcpTlsTx, TcpUlp};

use super::kernel_keys::{Suite, Way, info_of};

/// What the kernel encrypts: a set of suites, empty where it shall not or cannot.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct KernelTls {
    /// A bit for each of `Suite::ALL` in its order.
    taken: u8,
}

impl KernelTls {
    /// Every connection is encrypted by this process.
    #[must_use]
    pub const fn off() -> Self {
        Self { taken: 0 }
    }

    /// What the kernel of this machine takes: asked once, with sockets of this process.
    #[must_use]
    pub fn probed() -> Self {
        static PROBED: OnceLock<KernelTls> = OnceLock::new();
        *PROBED.get_or_init(|| Self::of(|suite| ask(suite).is_ok()))
    }

    /// The suites that `is_taken` says.
    fn of(is_taken: impl Fn(Suite) -> bool) -> Self {
        let bits = Suite::ALL.into_iter().enumerate();
        let taken = bits.filter(|(_, suite)| is_taken(*suite));
        Self {
            taken: taken.fold(0, |taken, (index, _)| taken | 1 << index),
        }
    }

    /// As if the kernel took everything.
    #[cfg(test)]
    pub(super) fn all() -> Self {
        Self::of(|_| true)
    }

    /// Whether it takes anything.
    #[must_use]
    pub const fn is_on(self) -> bool {
        self.taken != 0
    }

    /// Whether it takes connections of this suite.
    pub(super) fn takes(self, suite: Suite) -> bool {
        let index = Suite::ALL.into_iter().position(|each| each == suite);
        index.is_some_and(|index| self.taken & 1 << index != 0)
    }
}

impl fmt::Debug for KernelTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = Suite::ALL.into_iter().filter(|suite| self.takes(*suite));
        f.debug_list().entries(taken.map(Suite::name)).finish()
    }
}

/// Sets up a connection of this process to itself as if `suite` had been agreed on.
fn ask(suite: Suite) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let _far = listener.accept()?;
    let info = suite.info_to_ask().ok_or(io::ErrorKind::Unsupported)?;
    prepare(&near)?;
    setsockopt(&near, TcpTlsTx, info.info())?;
    setsockopt(&near, TcpTlsRx, info.info())?;
    Ok(())
}

/// Gets a connection ready for keys. It goes on as it is until it has them.
///
/// - Errors: also when the other end has stopped sending already.
pub(super) fn prepare(socket: impl AsFd) -> io::Result<()> {
    Ok(setsockopt(&socket, TcpUlp::default(), b"tls")?)
}

/// Gives a prepared connection its keys: from now on the kernel encrypts what is
/// written, and decrypts what has not been read.
///
/// - Errors: the connection is of no use any more.
pub(super) fn give_keys(
    socket: impl AsFd,
    suite: Suite,
    secrets: &ExtractedSecrets,
) -> io::Result<()> {
    let sending = info_of(suite, Way::Out, &secrets.tx).ok_or(io::ErrorKind::Unsupported)?;
    let receiving = info_of(suite, Way::In, &secrets.rx).ok_or(io::ErrorKind::Unsupported)?;
    setsockopt(&socket, TcpTlsTx, sending.info())?;
    setsockopt(&socket, TcpTlsRx, receiving.info())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_found_is_taken() {
        let [first, .., last] = Suite::ALL;
        let kernel = KernelTls::of(|suite| suite == last);
        assert!(kernel.is_on());
        assert!(kernel.takes(last));
        assert!(!kernel.takes(first));
        assert_eq!(format!("{kernel:?}"), "[\"1.3 ChaCha20-Poly1305\"]");
        for suite in Suite::ALL {
            assert!(!KernelTls::off().takes(suite));
            assert!(KernelTls::of(|_| true).takes(suite));
        }
    }

    #[test]
    fn the_probe_says_what_the_kernel_shows() {
        let shows_it = std::fs::exists("/proc/net/tls_stat").unwrap();
        if !shows_it {
            assert_eq!(KernelTls::probed(), KernelTls::off());
        }
    }
}
