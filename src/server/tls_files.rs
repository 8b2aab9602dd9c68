//! Certificate and key of the listeners for clients: read at the start, and again when
//! they change or SIGHUP comes.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_lite::FutureExt as _;

use crate::base::Clock;
use crate::base::units::KIB;
use crate::config::{ClientCertificates, TlsSection};
use crate::disk::{self, read_small_file_with_mode_blocking};
use crate::net::{
    KernelTls, Life, TlsAuthorities, TlsClients, TlsIdentity, TlsMaterialError, TlsServer,
};
use crate::runtime::{OffShardPanic, Shutdown, off_shard, timeout};
use crate::telemetry::{Metrics, ReloadEnd};

/// Longest file: some dozens of certificates.
const FILE_BYTES_MAX: u32 = 256 * KIB;
/// Permissions of others. The group may read a key, as mounted secrets often are.
const OTHERS_BITS: u32 = 0o007;
/// How often the files are looked at. They are loaded when two looks agree, so that
/// whoever replaces one after the other is done.
const LOOK_PERIOD: Duration = Duration::from_secs(5);

/// Certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsFilesError {
    #[error("read the files that `tls` names")]
    Disk(#[from] disk::Error),
    #[error(transparent)]
    Panicked(#[from] OffShardPanic),
    #[error("{} is missing", path.display())]
    Missing { path: PathBuf },
    #[error("{} has mode {mode:04o}: others may not read a key; chmod o= it", path.display())]
    Permissions { path: PathBuf, mode: u32 },
    #[error("{}", path.display())]
    Authorities {
        path: PathBuf,
        source: TlsMaterialError,
    },
    #[error("{} and {}", certificate.display(), key.display())]
    Identity {
        certificate: PathBuf,
        key: PathBuf,
        source: TlsMaterialError,
    },
}

/// Where certificate and key are, and whom they are for.
#[derive(Debug, Clone)]
pub(super) struct TlsFiles {
    certificate: PathBuf,
    key: PathBuf,
    clients: Option<(PathBuf, ClientCertificates)>,
    kernel: KernelTls,
}

/// What was read, ready to be spoken with.
pub(super) struct Loaded {
    /// For the registry.
    pub(super) clients: TlsServer,
    /// For operators, who are asked for no certificate.
    pub(super) operators: TlsServer,
    /// From when to when the certificate holds.
    pub(super) life: Life,
}

/// What tells a replaced file from the one that was read: inode, size, time of change.
type Stamp = Vec<Option<(u64, u64, i64, i64)>>;

impl TlsFiles {
    /// The files of a configuration; `None` when it asks for no TLS. The kernel encrypts
    /// what it takes for clients.
    pub(super) fn of(section: &TlsSection, kernel: KernelTls) -> Option<Self> {
        let clients = section.client_ca_file.clone();
        Some(Self {
            certificate: section.certificate_file.clone()?,
            key: section.key_file.clone()?,
            clients: clients.map(|file| (file, section.client_certificates)),
            kernel,
        })
    }

    /// Reads everything and checks that it fits together. Blocks.
    pub(super) fn load(&self) -> Result<Loaded, TlsFilesError> {
        let chain = read(&self.certificate)?;
        let (key, mode) = read_with_mode(&self.key)?;
        if mode & OTHERS_BITS != 0 {
            let path = self.key.clone();
            return Err(TlsFilesError::Permissions { path, mode });
        }
        let authorities = match &self.clients {
            None => None,
            Some((path, _)) => Some(TlsAuthorities::of_pem(&read(path)?).map_err(|source| {
                let path = path.clone();
                TlsFilesError::Authorities { path, source }
            })?),
        };
        let clients = match (&authorities, &self.clients) {
            (Some(by), Some((_, ClientCertificates::Requested))) => TlsClients::Requested(by),
            (Some(by), _) => TlsClients::Required(by),
            (None, _) => TlsClients::Anybody,
        };
        let loaded = TlsIdentity::of_pem(&chain, &key).and_then(|identity| {
            Ok(Loaded {
                clients: TlsServer::for_clients(&identity, clients)?.with_kernel(self.kernel),
                operators: TlsServer::for_clients(&identity, TlsClients::Anybody)?,
                life: identity.life()?,
            })
        });
        loaded.map_err(|source| TlsFilesError::Identity {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        })
    }

    fn stamp(&self) -> Stamp {
        let clients = self.clients.iter().map(|(path, _)| path);
        let files = [&self.certificate, &self.key].into_iter().chain(clients);
        let stamp = |path| {
            let metadata = fs::metadata(path).ok()?;
            let (seconds, nanoseconds) = (metadata.ctime(), metadata.ctime_nsec());
            Some((metadata.ino(), metadata.size(), seconds, nanoseconds))
        };
        files.map(stamp).collect()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsFilesError> {
    read_with_mode(path).map(|(content, _)| content)
}

fn read_with_mode(path: &Path) -> Result<(Vec<u8>, u32), TlsFilesError> {
    let read = read_small_file_with_mode_blocking(path, FILE_BYTES_MAX)?;
    read.ok_or_else(|| TlsFilesError::Missing { path: path.into() })
}

/// Shows in the metrics when a certificate ends, and warns of one that does not hold.
pub(super) fn show(life: Life, metrics: &Metrics, clock: &Clock) {
    let now = clock.unix_ms() / 1000;
    let shown = &metrics.tls.certificate_expiry_unix_seconds;
    shown.set(life.end_unix_seconds);
    let (begin, end) = (life.begin_unix_seconds, life.end_unix_seconds);
    if now > end {
        let seconds = now - end;
        tracing::warn!(
            seconds,
            "the TLS certificate has expired: clients will refuse it"
        );
    } else if now < begin {
        let seconds = begin - now;
        tracing::warn!(
            seconds,
            "the TLS certificate does not hold yet: clients will refuse it"
        );
    }
}

/// Reads certificate and key again, and hands them to the listeners.
pub(super) struct Renewal {
    pub(super) files: TlsFiles,
    /// Says that SIGHUP came.
    pub(super) hangups: flume::Receiver<()>,
    /// The registry's listeners, one on each shard.
    pub(super) clients: Vec<flume::Sender<TlsServer>>,
    /// The operators' listener, if it speaks TLS.
    pub(super) operators: Option<flume::Sender<TlsServer>>,
    pub(super) metrics: Arc<Metrics>,
}

impl Renewal {
    /// Watches until shutdown. What cannot be used is said once, and changes nothing.
    pub(super) async fn watch(self, shutdown: Shutdown) {
        let mut loaded = self.look().await;
        let mut seen = loaded.clone();
        loop {
            let called = async { self.hangups.recv_async().await.is_ok() };
            let stopped = async {
                shutdown.wait().await;
                false
            };
            match timeout(LOOK_PERIOD, stopped.or(called)).await {
                Ok(true) => {
                    seen = self.look().await;
                    loaded.clone_from(&seen);
                    self.renew().await;
                }
                Ok(false) => return,
                Err(_) => {
                    let before = std::mem::replace(&mut seen, self.look().await);
                    if seen == before && seen != loaded {
                        loaded.clone_from(&seen);
                        self.renew().await;
                    }
                }
            }
        }
    }

    /// What the files look like now; nothing when that cannot be told.
    async fn look(&self) -> Stamp {
        let files = self.files.clone();
        off_shard(move || files.stamp()).await.unwrap_or_default()
    }

    async fn renew(&self) {
        let files = self.files.clone();
        let read = off_shard(move || files.load()).await;
        let reloads = &self.metrics.tls.reloads;
        match read.map_err(TlsFilesError::from).flatten() {
            Ok(loaded) => {
                // A listener that is closed has no more connections to let in.
                for listener in &self.clients {
                    drop(listener.send_async(loaded.clients.clone()).await);
                }
                if let Some(listener) = &self.operators {
                    drop(listener.send_async(loaded.operators).await);
                }
                reloads.of(ReloadEnd::Loaded).count();
                tracing::info!("new connections are shown the TLS certificate just read");
                show(loaded.life, &self.metrics, &Clock::system());
            }
            Err(error) => {
                reloads.of(ReloadEnd::Failed).count();
                let error = super::run::with_causes(&error);
                tracing::error!(%error, "the new TLS certificate cannot be used; the old one stays in use");
            }
        }
    }
}
