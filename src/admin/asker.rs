//! Who may change the cluster. Pure.

use std::net::IpAddr;

use super::page::Answer;
use crate::http::Status;

/// Whether wishes are taken from a connection of `peer`: only from this machine. A
/// token to join leads to the key of the cluster, so whoever may wish owns it.
///
/// - Errors: the answer that says what to do.
pub(super) fn check_peer(peer: IpAddr) -> Result<(), Answer> {
    if peer.to_canonical().is_loopback() {
        return Ok(());
    }
    let reason = "the cluster is changed only over a loopback address of a node's own machine: \
                  run `windlass cluster` there, with --admin-listen 127.0.0.1:PORT where the \
                  node listens for operators on all addresses";
    Err(Answer::no(Status::FORBIDDEN, "forbidden", reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_may_wish() {
        for peer in ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"] {
            assert!(check_peer(peer.parse().unwrap()).is_ok(), "{peer}");
        }
        for peer in [
            "10.0.0.1",
            "192.0.2.7",
            "0.0.0.0",
            "::",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            let answer = check_peer(peer.parse().unwrap()).unwrap_err();
            assert_eq!(answer.head.status(), Status::FORBIDDEN, "{peer}");
            let body = String::from_utf8(answer.body).unwrap();
            assert!(body.contains("windlass cluster"), "{body}");
        }
    }
}
