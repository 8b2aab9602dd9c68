//! Who a caller is, as rules see it.

use std::net::IpAddr;

use serde_json::Value;

use super::certified::Certified;

/// Who asks, once it is proved.
#[expect(clippy::struct_field_names, reason = "the word of rules and of `sub`")]
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Subject {
    /// Name that came with the proof; absent for callers without credentials.
    pub username: Option<Box<str>>,
    /// Address of the client.
    pub network: Option<IpAddr>,
    /// Whom a signed identity names (`sub`).
    pub subject: Option<Box<str>>,
    /// Everything a signed identity says.
    pub claims: Option<Value>,
    /// Name of the robot, where it is one. No user is taken for a robot, nor the other
    /// way round, whatever they are called.
    pub robot: Option<Box<str>>,
    /// Whether nothing was proved.
    pub is_anonymous: bool,
}

impl Subject {
    /// A caller that showed no credentials.
    #[must_use]
    pub fn anonymous(network: Option<IpAddr>) -> Self {
        Self {
            network,
            is_anonymous: true,
            ..Self::default()
        }
    }

    /// A caller whose certificate was checked.
    #[must_use]
    pub fn certified(certified: &Certified, network: Option<IpAddr>) -> Self {
        Self {
            subject: Some(certified.name.clone()),
            claims: Some(certified.claims.clone()),
            ..Self::user(&certified.name, network)
        }
    }

    /// A robot whose secret was checked.
    #[must_use]
    pub fn robot(name: &str, network: Option<IpAddr>) -> Self {
        Self {
            robot: Some(name.into()),
            ..Self::user(name, network)
        }
    }

    /// A user whose password was checked.
    #[must_use]
    pub fn user(name: &str, network: Option<IpAddr>) -> Self {
        Self {
            username: Some(name.into()),
            network,
            ..Self::default()
        }
    }
}
