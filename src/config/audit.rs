//! `[audit]`: what is written down of who did what.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::telemetry::{AuditLevel, AuditOptions};

/// `[audit]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditSection {
    /// What is written down.
    #[serde(with = "AuditLevelName")]
    pub level: AuditLevel,
    /// Where; in the common log when absent.
    pub file: Option<PathBuf>,
}

/// The names of [`AuditLevel`] in the configuration.
#[derive(Serialize, Deserialize)]
#[serde(remote = "AuditLevel", rename_all = "lowercase")]
enum AuditLevelName {
    Changes,
    Refusals,
    All,
}

impl Default for AuditSection {
    fn default() -> Self {
        Self {
            level: AuditLevel::Changes,
            file: None,
        }
    }
}

impl AuditSection {
    /// What the audit log asks for.
    #[must_use]
    pub fn options(&self) -> AuditOptions {
        AuditOptions {
            level: self.level,
            file: self.file.clone(),
        }
    }

    /// Every key with a value.
    pub(super) fn with_every_key() -> Self {
        Self {
            file: Some(PathBuf::from("/var/log/windlass/audit.jsonl")),
            ..Self::default()
        }
    }
}
