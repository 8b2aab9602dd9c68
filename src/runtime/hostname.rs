//! What the machine is called.

/// The machine's own name, as the kernel knows it; in a container that of the container.
#[must_use]
pub fn hostname() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_a_name() {
        assert!(!hostname().is_empty());
    }
}
