//! What the tests against a real process share: a raw HTTP client, the process
//! itself, and content that a seed brings back.

mod client;
mod cluster;
mod content;
mod gathered;
mod node;
mod proxy;
mod registry;
mod root;

pub(crate) use client::{Client, Request, Response};
pub(crate) use cluster::{Cluster, Member, SETTLED_MAX, said};
pub(crate) use content::{Random, digest_of, image, index, sha256, sha512};
pub(crate) use gathered::secret;
pub(crate) use node::{Node, NodeOptions, shared_address, wait_for};
pub(crate) use proxy::round_robin;
pub(crate) use registry::{CONFIG_TYPE, INDEX_TYPE, LAYER_TYPE, MANIFEST_TYPE, Registry, location};
pub(crate) use root::is_left_out;
