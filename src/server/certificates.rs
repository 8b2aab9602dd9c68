//! A member's certificates: read at the start, made anew before they end where the
//! cluster has its own authority, and taken from new files while the node runs.

use std::time::Duration;

use super::error::ServerError;
use crate::base::Clock;
use crate::peer::{
    Authority, ClusterFiles, Credentials, OperatorFiles, PeerIdentity, TlsMaterial, ends_soon,
    renewed,
};
use crate::runtime::{Shutdown, off_shard, timeout};

/// How often the files are looked at: they are small, and whoever replaces them
/// watches for it.
const LOOK_PERIOD: Duration = Duration::from_secs(5);

/// Where certificates come from.
#[derive(Debug, Clone)]
enum Source {
    /// The cluster's own authority.
    Own {
        files: ClusterFiles,
        authority: Option<Authority>,
    },
    /// The operator.
    Operator(OperatorFiles),
}

/// What a member proves itself with, kept fresh. Owned by the first shard.
#[derive(Debug, Clone)]
pub(super) struct Certificates {
    source: Source,
    identity: PeerIdentity,
    material: TlsMaterial,
    /// What is in force.
    current: Credentials,
    /// What was found last and cannot be used.
    unusable: Option<Credentials>,
}

impl Certificates {
    /// Reads certificates that the cluster made; `None` for a node that is no member.
    /// One that is about to end, or has, is made anew first.
    pub(super) fn own(
        files: ClusterFiles,
        authority: Option<Authority>,
        identity: PeerIdentity,
    ) -> Result<Option<Self>, ServerError> {
        let Some(mut credentials) = files.read_node()? else {
            return Ok(None);
        };
        if let Some(fresh) = make_anew(&files, authority.as_ref(), identity, &credentials)? {
            credentials = fresh;
        }
        Self::new(Source::Own { files, authority }, identity, credentials).map(Some)
    }

    /// Reads certificates that the operator brings.
    pub(super) fn operator(
        files: OperatorFiles,
        identity: PeerIdentity,
    ) -> Result<Self, ServerError> {
        let credentials = files.read()?;
        Self::new(Source::Operator(files), identity, credentials)
    }

    fn new(
        source: Source,
        identity: PeerIdentity,
        current: Credentials,
    ) -> Result<Self, ServerError> {
        let certificates = Self {
            material: TlsMaterial::member(identity, &current)?,
            source,
            identity,
            current,
            unusable: None,
        };
        certificates.warn();
        Ok(certificates)
    }

    /// What connections use.
    pub(super) fn material(&self) -> TlsMaterial {
        self.material.clone()
    }

    /// What is in force.
    pub(super) const fn current(&self) -> &Credentials {
        &self.current
    }

    /// Looks at the files until shutdown.
    pub(super) async fn keep_fresh(self, shutdown: Shutdown) {
        let mut certificates = self;
        while timeout(LOOK_PERIOD, shutdown.wait()).await.is_err() {
            let looking = off_shard(move || {
                certificates.look();
                certificates
            });
            match looking.await {
                Ok(looked) => certificates = looked,
                Err(panic) => {
                    tracing::error!(%panic, "certificates are not looked at any more");
                    return;
                }
            }
        }
    }

    /// Takes what is new. Blocks.
    fn look(&mut self) {
        let found = match &self.source {
            Source::Operator(files) => files.read().map(Some),
            Source::Own { files, authority } => {
                let made = make_anew(files, authority.as_ref(), self.identity, &self.current);
                if let Err(error) = made {
                    tracing::error!(%error, "the certificate of this node cannot be made anew");
                }
                files.read_node()
            }
        };
        match found {
            Ok(Some(found)) if found != self.current => self.take(found),
            Ok(Some(_)) => self.unusable = None,
            Ok(None) => {}
            // Half of a set that is being replaced.
            Err(error) => tracing::debug!(%error, "certificates cannot be read now"),
        }
    }

    fn take(&mut self, found: Credentials) {
        match self.material.renew(&found) {
            Ok(()) => {
                tracing::info!("new certificates between nodes are in force");
                self.current = found;
                self.unusable = None;
                self.warn();
            }
            Err(_) if self.unusable.as_ref() == Some(&found) => {}
            Err(error) => {
                let error = super::run::with_causes(&error);
                tracing::warn!(
                    error,
                    "new certificates cannot be used: those in force stay"
                );
                self.unusable = Some(found);
            }
        }
    }

    fn warn(&self) {
        if ends_soon(&self.current) {
            tracing::warn!("the certificate of this node ends within two weeks");
        }
    }
}

/// Writes a new certificate when the one in force is about to end.
fn make_anew(
    files: &ClusterFiles,
    authority: Option<&Authority>,
    identity: PeerIdentity,
    current: &Credentials,
) -> Result<Option<Credentials>, ServerError> {
    let Some(authority) = authority else {
        return Ok(None);
    };
    let fresh = renewed(authority, identity.node, current, &Clock::system())?;
    if let Some(fresh) = &fresh {
        files.write_node(fresh)?;
        tracing::info!("the certificate of this node was about to end: it is made anew");
    }
    Ok(fresh)
}
