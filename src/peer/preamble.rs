//! The first bytes of a connection: that it is one between nodes, and what for.
//!
//! ```text
//! 0  [6]  magic "WLPEER"
//! 6  u8   version, 1
//! 7  u8   purpose (1 calls, 2 transfer, 3 join, 4 upload, 5 gather)
//! ```
//! They go in the open, before anybody has proved anything: the executor that accepts
//! reads them to know which one shall go on with the connection.

const MAGIC: [u8; 6] = *b"WLPEER";
const PREAMBLE_VERSION: u8 = 1;

/// Length of a preamble.
pub(super) const PREAMBLE_BYTES: usize = 8;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Calls and answers between members.
    Calls,
    /// Content of blobs between members.
    Transfer,
    /// Calls of a node that is no member yet.
    Join,
    /// Bytes of upload sessions between members.
    Upload,
    /// A machine that is to form a cluster asks how far this one is.
    Gather,
}

/// What came is not the preamble of a node this build can speak with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PreambleError {
    /// Not a connection between nodes at all.
    #[error("the other end is no node")]
    Magic,
    /// A newer node that speaks no older protocol.
    #[error("the other end speaks version {version} of the protocol")]
    Version {
        /// The version it speaks.
        version: u8,
    },
    /// A purpose that this build does not know.
    #[error("the connection is for purpose {code}, which is not known")]
    Purpose {
        /// The purpose's number.
        code: u8,
    },
}

impl Purpose {
    const ALL: [Self; 5] = [
        Self::Calls,
        Self::Transfer,
        Self::Join,
        Self::Upload,
        Self::Gather,
    ];

    /// Whether large content goes over such a connection, so that it is worth to have
    /// the kernel encrypt it. Calls are small, and their connections live long: the
    /// library gets those another key in time, which the kernel cannot.
    pub(super) const fn moves_content(self) -> bool {
        match self {
            Self::Transfer | Self::Upload => true,
            Self::Calls | Self::Join | Self::Gather => false,
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Calls => 1,
            Self::Transfer => 2,
            Self::Join => 3,
            Self::Upload => 4,
            Self::Gather => 5,
        }
    }

    /// The preamble of a connection for this purpose.
    pub(super) const fn preamble(self) -> [u8; PREAMBLE_BYTES] {
        let mut preamble = [0; PREAMBLE_BYTES];
        let (magic, rest) = preamble.split_at_mut(MAGIC.len());
        magic.copy_from_slice(&MAGIC);
        rest.copy_from_slice(&[PREAMBLE_VERSION, self.code()]);
        preamble
    }

    /// Reads a preamble.
    pub(super) fn of_preamble(preamble: [u8; PREAMBLE_BYTES]) -> Result<Self, PreambleError> {
        let [magic @ .., version, code] = preamble;
        if magic != MAGIC {
            return Err(PreambleError::Magic);
        }
        if version != PREAMBLE_VERSION {
            return Err(PreambleError::Version { version });
        }
        let purpose = Self::ALL.into_iter().find(|each| each.code() == code);
        purpose.ok_or(PreambleError::Purpose { code })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preamble_reads_back_and_everything_else_is_refused() {
        for purpose in Purpose::ALL {
            assert_eq!(Purpose::of_preamble(purpose.preamble()), Ok(purpose));
        }
        let read = |bytes: &[u8; 8]| Purpose::of_preamble(*bytes);
        assert_eq!(read(b"WLPEER\x01\x01"), Ok(Purpose::Calls));
        assert_eq!(read(b"GET / HT"), Err(PreambleError::Magic));
        let newer = PreambleError::Version { version: 2 };
        assert_eq!(read(b"WLPEER\x02\x01"), Err(newer));
        let unknown = PreambleError::Purpose { code: 6 };
        assert_eq!(read(b"WLPEER\x01\x06"), Err(unknown));
    }
}
