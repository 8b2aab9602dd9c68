//! Who may change the cluster, and see or change tokens. Pure.

use std::net::IpAddr;

use super::page::Answer;
use crate::http::{Head, Status};

/// The header that says that a wish is meant; its value is `1`.
pub const OPERATOR_HEADER: &str = "X-Windlass-Operator";

/// Whether wishes are taken from a connection of `peer`: only from this machine. A
/// token to join leads to the key of the cluster, so whoever may wish owns it.
///
/// - Errors: the answer that says what to do.
pub(super) fn check_peer(peer: IpAddr) -> Result<(), Answer> {
    if peer.to_canonical().is_loopback() {
        return Ok(());
    }
    let reason = "the cluster and its tokens are changed only over a loopback address of a \
                  node's own machine: run `windlass cluster` or `windlass token` there, with \
                  --admin-listen 127.0.0.1:PORT where the node listens for operators on all \
                  addresses";
    Err(Answer::no(Status::FORBIDDEN, "forbidden", reason))
}

/// Whether a wish was meant: a page in a browser can post to any address that the
/// browser reaches, under any name, but it can neither leave `Origin` out nor add a
/// header of its own without asking before, which is answered to nobody.
///
/// - Errors: the answer that says what is missing.
pub(super) fn check_head(head: &Head) -> Result<(), Answer> {
    let no = |reason| Err(Answer::no(Status::FORBIDDEN, "forbidden", reason));
    if head.has("origin") {
        return no("pages in a browser do not change the cluster");
    }
    // A page whose name was bound to this address says its own name.
    if !head.header("host").is_some_and(is_here) {
        return no("the cluster is changed by a loopback address or as `localhost`");
    }
    if head.header(OPERATOR_HEADER) != Some("1") {
        return no("a wish comes with the header `X-Windlass-Operator: 1`");
    }
    Ok(())
}

/// Whether `Host` names this machine by an address of its own.
fn is_here(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
        if is_port { name } else { host }
    });
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let address = address.parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(lines: &str) -> u16 {
        let text = format!("POST /cluster/add HTTP/1.1\r\nHost: 127.0.0.1:5001\r\n{lines}\r\n");
        let (head, _) = Head::parse(text.as_bytes()).unwrap().unwrap();
        check_head(&head).map_or_else(|answer| answer.head.status().code(), |()| 200)
    }

    #[test]
    fn a_wish_says_that_it_is_meant_and_comes_from_no_browser() {
        assert_eq!(status("X-Windlass-Operator: 1\r\n"), 200);
        assert_eq!(status("x-windlass-operator: 1\r\n"), 200);
        for lines in [
            "",
            "X-Windlass-Operator: \r\n",
            "X-Windlass-Operator: yes\r\n",
            "Origin: null\r\n",
            "X-Windlass-Operator: 1\r\nOrigin: http://a\r\n",
            "Origin:\r\nX-Windlass-Operator: 1\r\n",
        ] {
            assert_eq!(status(lines), 403, "{lines}");
        }
    }

    #[test]
    fn a_name_that_somebody_bound_to_this_address_is_not_this_machine() {
        for host in [
            "localhost",
            "LOCALHOST:5001",
            "127.0.0.1",
            "127.0.0.1:5001",
            "[::1]:5001",
        ] {
            assert!(is_here(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:5001",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "::1x",
        ] {
            assert!(!is_here(host), "{host}");
        }
    }

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
