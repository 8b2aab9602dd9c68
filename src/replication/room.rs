//! Whether the disk has room for more copies, as somebody else knows it.

use std::fmt;
use std::sync::Arc;

/// Says whether new content may be written. Asked often.
#[derive(Clone)]
pub struct Room(Arc<dyn Fn() -> bool + Send + Sync>);

impl Room {
    /// Asks `has_some` each time.
    #[must_use]
    pub fn new(has_some: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(has_some))
    }

    pub(super) fn has_some(&self) -> bool {
        (self.0)()
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Room").field(&self.has_some()).finish()
    }
}
