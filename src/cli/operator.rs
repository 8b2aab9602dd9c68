//! The way to a running node, over its address for operators.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::secured::agent;
use crate::admin::OPERATOR_HEADER;
use crate::config::Config;

/// A removal waits twice for what the nodes have to say, and a change of the membership
/// may take two elections.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// Why a command to a running node came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum OperatorError {
    #[error(
        "no node answers at {address}; name its address for operators with --admin-listen: {reason}"
    )]
    Unreachable { address: SocketAddr, reason: String },
    #[error("{0}")]
    Refused(String),
    #[error("`tls.certificate_file`, by which the node is known: {0}")]
    Certificate(#[source] io::Error),
    #[error("write the answer")]
    Output(#[from] io::Error),
}

#[derive(Debug, Deserialize)]
struct Refusal {
    reason: String,
}

/// The operators' door of a running node.
pub(super) struct Operator {
    address: SocketAddr,
    agent: ureq::Agent,
}

type Answered = Result<ureq::http::Response<ureq::Body>, ureq::Error>;

impl Operator {
    pub(super) fn new(config: &Config) -> Result<Self, OperatorError> {
        let address = config.admin_listen;
        let agent = agent(address, ANSWER_LIMIT, &config.tls);
        Ok(Self {
            address,
            agent: agent.map_err(OperatorError::Certificate)?,
        })
    }

    /// Reads a page.
    pub(super) fn get(&self, page: &str) -> Result<String, OperatorError> {
        let asking = self.agent.get(self.url(page)).header(OPERATOR_HEADER, "1");
        self.read(asking.call())
    }

    /// Changes something, without a body.
    pub(super) fn post(
        &self,
        page: &str,
        query: &[(&str, String)],
    ) -> Result<String, OperatorError> {
        let query = query.iter().map(|(name, value)| (*name, value.as_str()));
        let asking = self.agent.post(self.url(page)).header(OPERATOR_HEADER, "1");
        self.read(asking.query_pairs(query).send_empty())
    }

    /// Changes something that a JSON body says.
    pub(super) fn post_json(
        &self,
        page: &str,
        body: &serde_json::Value,
    ) -> Result<String, OperatorError> {
        let asking = self.agent.post(self.url(page)).header(OPERATOR_HEADER, "1");
        let asking = asking.header("Content-Type", "application/json");
        self.read(asking.send(body.to_string()))
    }

    fn url(&self, page: &str) -> String {
        format!("http://{}/{page}", self.address)
    }

    fn read(&self, answered: Answered) -> Result<String, OperatorError> {
        let unreachable = |error: ureq::Error| OperatorError::Unreachable {
            address: self.address,
            reason: error.to_string(),
        };
        let mut answer = answered.map_err(unreachable)?;
        let text = answer.body_mut().read_to_string().map_err(unreachable)?;
        if answer.status().is_success() {
            return Ok(text);
        }
        let refusal = serde_json::from_str::<Refusal>(&text);
        Err(OperatorError::Refused(
            refusal.map_or(text, |refusal| refusal.reason),
        ))
    }
}

/// Reads an answer.
pub(super) fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, OperatorError> {
    let unreadable = |error| OperatorError::Refused(format!("the answer cannot be read: {error}"));
    serde_json::from_str(text).map_err(unreadable)
}
