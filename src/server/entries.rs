//! How all listeners of a node let connections in, from its configuration.

use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;

use super::connections::Entry;
use super::error::ServerError;
use super::options::{identities, kernel_tls, proxies};
use super::shard::Operators;
use super::tls_files::{Renewal, TlsFiles, show};
use crate::admin::Health;
use crate::base::Clock;
use crate::config::Config;
use crate::exchange::Entrance;
use crate::net::TlsServer;
use crate::telemetry::Metrics;

/// The entries of a node that starts.
#[derive(Default)]
pub(super) struct Entries {
    /// To the registry, one for each shard.
    pub(super) clients: Vec<Entry>,
    /// To the operators' door.
    operators: Entry,
    /// Watches over the certificates, under TLS.
    renewal: Option<Renewal>,
}

impl Entries {
    /// What the first shard needs for operators who are listened for at `listen`.
    pub(super) fn operators(&mut self, listen: SocketAddr, health: Health) -> Operators {
        Operators {
            listen,
            entry: mem::take(&mut self.operators),
            health,
            renewal: self.renewal.take(),
        }
    }

    /// Reads certificate and key, if there are any. Blocks. `hangups` says when to read
    /// them again.
    pub(super) fn open(
        config: &Config,
        shards: usize,
        metrics: &Arc<Metrics>,
        hangups: flume::Receiver<()>,
    ) -> Result<Self, ServerError> {
        let entrance = Entrance {
            tls: None,
            proxies: proxies(config),
            identities: identities(config),
        };
        let Some(files) = TlsFiles::of(&config.tls, kernel_tls(config)) else {
            let entry = |()| Entry {
                entrance: entrance.clone(),
                renewed: None,
            };
            return Ok(Self {
                clients: vec![(); shards].into_iter().map(entry).collect(),
                ..Self::default()
            });
        };
        let loaded = files.load()?;
        show(loaded.life, metrics, &Clock::system());
        let under_tls = |entrance: &Entrance, tls: &TlsServer| {
            // One certificate is on its way at a time.
            let (renewing, renewed) = flume::bounded(1);
            let entrance = Entrance {
                tls: Some(tls.clone()),
                ..entrance.clone()
            };
            let renewed = Some(renewed);
            (renewing, Entry { entrance, renewed })
        };
        let (renewing, clients) = (0..shards)
            .map(|_| under_tls(&entrance, &loaded.clients))
            .unzip();
        let (operators, operators_entry) = if config.tls.admin {
            let (renewing, entry) = under_tls(&Entrance::default(), &loaded.operators);
            (Some(renewing), entry)
        } else {
            (None, Entry::default())
        };
        Ok(Self {
            clients,
            operators: operators_entry,
            renewal: Some(Renewal {
                files,
                hangups,
                clients: renewing,
                operators,
                metrics: Arc::clone(metrics),
            }),
        })
    }
}
