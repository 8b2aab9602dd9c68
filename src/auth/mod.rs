//! Who may do what: rights, scopes, challenges, rules, tokens. Decides from values;
//! reads no file, no clock, and keeps nothing but what it is handed.
//!
//! Floor: rules
//! Uses: base
//! Crates: jsonwebtoken, serde_json, webpki

mod action;
mod authorize;
mod cache;
mod certified;
mod challenge;
mod claim;
mod credentials;
mod discovery;
mod key;
mod key_set;
mod matcher;
mod md5_crypt;
mod password;
mod read;
mod robot;
mod robot_token;
mod rule_error;
mod rules;
mod scope;
mod sign;
mod small_order;
mod strict_json;
mod subject;
mod token;

pub use action::{Action, Actions};
pub use authorize::{Authority, Decision, Ground, Needed, authorize};
pub use cache::TokenCache;
pub use certified::{CertificateName, CertificateNames, Certified};
pub use challenge::{Fault, TokenSource};
pub use credentials::{Credentials, CredentialsError, Login};
pub use discovery::{DiscoveryError, discovered_keys_url, discovery_url};
pub use key::{Key, KeyError};
pub use key_set::{IgnoredKey, KeySet};
pub use password::{HashError, PasswordHash};
pub use robot::{RobotScopeError, RobotScopes};
pub use robot_token::{RobotToken, parse_robot_id, robot_id_text};
pub use rule_error::{RuleError, RuleFault};
pub use rules::{Reason, RuleName, Rules, Verdict};
pub use scope::{AccessError, Resource, Scope};
pub use sign::{SigningError, SigningKey};
pub use subject::Subject;
pub use token::{Issuer, TokenError, TokenKind, Verified};
