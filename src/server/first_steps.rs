//! What a first start tells whoever started it: how to push an image.

use std::net::SocketAddr;

/// The two commands that push an image to a registry at `address`.
pub(super) fn push_commands(address: SocketAddr) -> [String; 2] {
    [
        format!("docker tag IMAGE {address}/IMAGE"),
        format!("docker push {address}/IMAGE"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_name_the_address() {
        let address = "127.0.0.1:5000".parse().unwrap();
        let expected = [
            "docker tag IMAGE 127.0.0.1:5000/IMAGE",
            "docker push 127.0.0.1:5000/IMAGE",
        ];
        assert_eq!(push_commands(address), expected);
    }
}
