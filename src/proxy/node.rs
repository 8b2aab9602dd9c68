//! One address as proxies write it into headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reads `192.0.2.7`, `192.0.2.7:80`, `2001:db8::7`, `[2001:db8::7]` and
/// `[2001:db8::7]:80`; `None` for what is no address, also where that is legal:
/// `unknown`, and names that hide one.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, behind) = rest.split_once(']')?;
        let address: Ipv6Addr = inside.parse().ok()?;
        let is_end = behind.is_empty() || behind.strip_prefix(':').is_some_and(is_port);
        return is_end.then(|| IpAddr::V6(address).to_canonical());
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let (address, port) = text.split_once(':')?;
    let address: Ipv4Addr = address.parse().ok()?;
    is_port(port).then_some(IpAddr::V4(address))
}

/// A port, or a name that hides one.
fn is_port(text: &str) -> bool {
    let is_name = |rest: &str| {
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        !rest.is_empty() && rest.bytes().all(is_legal)
    };
    match text.strip_prefix('_') {
        Some(name) => is_name(name),
        None => text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_ports() {
        let rows = [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7:80", "192.0.2.7"),
            ("192.0.2.7:_hidden", "192.0.2.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:80", "2001:db8::7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
        ];
        for (text, expected) in rows {
            assert_eq!(address(text), Some(expected.parse().unwrap()), "{text}");
        }
        for text in [
            "",
            "unknown",
            "_hidden",
            "192.0.2",
            "192.0.2.7:",
            "192.0.2.7:+1",
            "192.0.2.7:70000",
            "192.0.2.7 ",
            "[192.0.2.7]",
            "[2001:db8::7",
            "[2001:db8::7]x",
            "localhost",
        ] {
            assert_eq!(address(text), None, "{text}");
        }
    }
}
