//! Values of `[cluster]` that cannot work, alone or together. Pure.

use std::collections::BTreeSet;

use super::check::impossible;
use super::cluster::{ClusterSection, HOSTNAME_MARK, PeerSecurity, Secret};
use super::error::ConfigError;
use super::units::ByteSize;
use crate::base::units::KIB;

/// Whoever answers a node's connection gets a proof to guess at: a secret must be
/// beyond guessing.
const SECRET_BYTES_MIN: usize = 16;
/// More would share one disk and one network to nobody's gain.
const FETCHES_MAX: usize = 64;
/// Below this a back-fill would never end.
const FETCH_RATE_BYTES_MIN: u64 = 64 * KIB as u64;
/// Longest name of a cluster: a label, to be read by people.
const NAME_BYTES_MAX: usize = 63;

/// Finds the first value of `[cluster]` that cannot work.
pub(super) fn check_cluster(cluster: &ClusterSection) -> Result<(), ConfigError> {
    check_address(cluster)?;
    check_security(cluster)?;
    check_copies(cluster)?;
    check_forming(cluster)
}

fn check_address(cluster: &ClusterSection) -> Result<(), ConfigError> {
    let Some(advertise) = &cluster.advertise else {
        return Ok(());
    };
    // Any hostname makes of a sound template a sound address.
    if is_host_and_port(&advertise.replace(HOSTNAME_MARK, "a")) {
        return Ok(());
    }
    let remedy = "write a host, a colon and a port";
    let value = format!("\"{advertise}\"");
    Err(impossible("cluster.advertise", value, remedy))
}

fn check_security(cluster: &ClusterSection) -> Result<(), ConfigError> {
    if cluster.security == PeerSecurity::Plain && !is_secret(cluster.secret.as_ref()) {
        let remedy = format!(
            "with `cluster.security = \"plain\"` every node needs the same secret of at least {SECRET_BYTES_MIN} bytes"
        );
        return Err(impossible("cluster.secret", "too short", remedy));
    }
    let files = [
        &cluster.ca_file,
        &cluster.certificate_file,
        &cluster.key_file,
    ];
    let given = files.iter().filter(|file| file.is_some()).count();
    if given != 0 && given != files.len() {
        let remedy = "name `ca_file`, `certificate_file` and `key_file`, or none of them for the cluster's own";
        return Err(impossible("cluster.ca_file", "not alone", remedy));
    }
    Ok(())
}

fn check_copies(cluster: &ClusterSection) -> Result<(), ConfigError> {
    if !(1..=FETCHES_MAX).contains(&cluster.fetches_max) {
        let remedy = format!("it must lie between 1 and {FETCHES_MAX}");
        let value = cluster.fetches_max;
        return Err(impossible("cluster.fetches_max", value, remedy));
    }
    if let Some(rate) = cluster.fetch_rate_max
        && rate.bytes() < FETCH_RATE_BYTES_MIN
    {
        let least = ByteSize::new(FETCH_RATE_BYTES_MIN);
        let remedy = format!("ask for at least {least}, or leave the key out for no bound");
        return Err(impossible("cluster.fetch_rate_max", rate, remedy));
    }
    if cluster.ack_timeout.duration().is_zero() {
        let remedy = "no blob would ever be acknowledged";
        let value = cluster.ack_timeout;
        return Err(impossible("cluster.ack_timeout", value, remedy));
    }
    let mut prefixes = BTreeSet::new();
    for rule in &cluster.ack_prefixes {
        if !prefixes.insert(rule.prefix.as_str()) {
            let remedy = "one prefix has one level: leave one of the two out";
            return Err(impossible("cluster.ack_prefixes", rule, remedy));
        }
    }
    Ok(())
}

/// What a cluster that forms by itself needs.
fn check_forming(cluster: &ClusterSection) -> Result<(), ConfigError> {
    if let Some(name) = &cluster.name
        && !is_name(name)
    {
        let remedy =
            format!("write 1 to {NAME_BYTES_MAX} letters, digits, dots, dashes or underscores");
        return Err(impossible("cluster.name", format!("\"{name}\""), remedy));
    }
    if let Some(secret) = &cluster.join_secret
        && !is_secret(Some(secret))
    {
        let remedy = format!("it must have at least {SECRET_BYTES_MIN} bytes");
        return Err(impossible("cluster.join_secret", "too short", remedy));
    }
    if cluster.peers.is_empty() {
        return Ok(());
    }
    let mut known = BTreeSet::new();
    for peer in &cluster.peers {
        if !is_host_and_port(peer) || !known.insert(peer) {
            let remedy = "write each node once, as a host, a colon and a port";
            return Err(impossible("cluster.peers", format!("\"{peer}\""), remedy));
        }
    }
    let missing = [
        ("cluster.name", cluster.name.is_none()),
        ("cluster.join_secret", cluster.join_secret.is_none()),
        (
            "cluster.expect",
            cluster.expect.is_none() && cluster.peers.len() == 1,
        ),
    ];
    if let Some((key, _)) = missing.into_iter().find(|(_, is_missing)| *is_missing) {
        let remedy = match key {
            "cluster.expect" => {
                "one name in `cluster.peers` stands for all nodes: say how many there are"
            }
            _ => "nodes that form a cluster by themselves, as `cluster.peers` asks, need it",
        };
        return Err(impossible(key, "missing", remedy));
    }
    if let Some(expect) = cluster.expect
        && expect < cluster.peers.len()
    {
        let remedy = "every node of `cluster.peers` must be there when the cluster begins";
        return Err(impossible("cluster.expect", expect, remedy));
    }
    if cluster.ca_file.is_some() {
        let remedy = "certificates of your own name a cluster and a node, which only `windlass init` and `windlass join` tell: leave this key out";
        return Err(impossible("cluster.peers", "here", remedy));
    }
    Ok(())
}

fn is_secret(secret: Option<&Secret>) -> bool {
    secret.map_or("", Secret::reveal).len() >= SECRET_BYTES_MIN
}

fn is_name(name: &str) -> bool {
    let is_in_names = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_in_names)
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && host
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"/{}".contains(&byte))
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const SECRET: &str = "cluster.join_secret = '0123456789abcdef'";

    fn refused(text: &str) -> String {
        let config: Config = toml::from_str(text).unwrap();
        check_cluster(&config.cluster).expect_err(text).to_string()
    }

    #[test]
    fn values_that_cannot_work_are_named_with_their_remedy() {
        let rows = [
            ("cluster.advertise = 'a'", "cluster.advertise"),
            ("cluster.advertise = 'a:0'", "cluster.advertise"),
            ("cluster.advertise = '{host}:1'", "cluster.advertise"),
            ("cluster.security = 'plain'", "cluster.secret"),
            ("cluster.key_file = '/k'", "cluster.ca_file"),
            ("cluster.fetches_max = 0", "cluster.fetches_max"),
            ("cluster.fetch_rate_max = '0B'", "cluster.fetch_rate_max"),
            ("cluster.ack_timeout = '0s'", "cluster.ack_timeout"),
            (
                "cluster.ack_prefixes = ['a=one', 'a=all']",
                "cluster.ack_prefixes",
            ),
            ("cluster.name = ''", "cluster.name"),
            ("cluster.name = 'a b'", "cluster.name"),
            ("cluster.join_secret = 'short'", "cluster.join_secret"),
            ("cluster.peers = ['a']", "cluster.peers"),
            ("cluster.peers = ['a:1', 'a:1']", "cluster.peers"),
            ("cluster.peers = ['a:1', 'b:1']", "cluster.name"),
        ];
        for (text, key) in rows {
            let message = refused(text);
            assert!(message.starts_with(&format!("`{key}` is ")), "{message}");
        }
    }

    #[test]
    fn nodes_that_form_a_cluster_need_a_name_a_secret_and_their_number() {
        let name = "cluster.name = 'registry'";
        let list = "cluster.peers = ['a:1', 'b:1']";
        let one = "cluster.peers = ['all:1']";
        assert!(refused(&format!("{name}\n{list}")).contains("join_secret"));
        assert!(refused(&format!("{name}\n{SECRET}\n{one}")).contains("cluster.expect"));
        let few = format!("{name}\n{SECRET}\n{list}\ncluster.expect = 1");
        assert!(refused(&few).contains("cluster.expect"));
        let own = "cluster.ca_file = 'a'\ncluster.certificate_file = 'b'\ncluster.key_file = 'c'";
        assert!(refused(&format!("{name}\n{SECRET}\n{list}\n{own}")).contains("cluster.peers"));
        for sound in [list.to_owned(), format!("{one}\ncluster.expect = 3")] {
            let text = format!("{name}\n{SECRET}\n{sound}");
            let config: Config = toml::from_str(&text).unwrap();
            assert!(check_cluster(&config.cluster).is_ok(), "{text}");
        }
    }
}
