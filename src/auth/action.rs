//! What a caller may do to a repository.

use std::fmt;
use std::ops::{BitAnd, BitOr, Not};

/// One right on a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read blobs, manifests, tags and referrers.
    Pull,
    /// Store blobs, and manifests by digest.
    Push,
    /// Give a manifest a tag that does not exist yet.
    TagCreate,
    /// Move a tag that exists.
    TagOverwrite,
    /// Delete tags, manifests and blobs.
    Delete,
    /// Everything, and whatever is added later.
    Admin,
}

impl Action {
    /// Every action, in the order in which they are written.
    pub const ALL: [Self; 6] = [
        Self::Pull,
        Self::Push,
        Self::TagCreate,
        Self::TagOverwrite,
        Self::Delete,
        Self::Admin,
    ];

    /// The word of rules and scopes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::TagCreate => "tag-create",
            Self::TagOverwrite => "tag-overwrite",
            Self::Delete => "delete",
            Self::Admin => "admin",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Pull => 1,
            Self::Push => 1 << 1,
            Self::TagCreate => 1 << 2,
            Self::TagOverwrite => 1 << 3,
            Self::Delete => 1 << 4,
            Self::Admin => 1 << 5,
        }
    }
}

/// A set of rights.
///
/// Words grant sets: `push` brings both rights on tags, because that is what it means
/// to every client; a right on tags brings what it takes to use it, and who may move
/// tags may make them. So whoever may push but move no tag is given `tag-create`
/// instead of `push`.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Actions(u8);

impl Actions {
    /// No right.
    pub const NONE: Self = Self(0);
    /// Every right.
    pub const ALL: Self = Self(0b11_1111);
    /// Reading.
    pub const PULL: Self = Self(Action::Pull.bit());
    /// Storing, with any tag.
    pub const PUSH: Self =
        Self(Action::Push.bit() | Action::TagCreate.bit() | Action::TagOverwrite.bit());
    /// Storing, with new tags.
    pub const TAG_CREATE: Self = Self(Action::Push.bit() | Action::TagCreate.bit());
    /// Storing, whatever the tags.
    pub const STORE: Self = Self(Action::Push.bit());
    /// Deleting.
    pub const DELETE: Self = Self(Action::Delete.bit());

    /// The rights that a word of a rule or a scope gives; `None` for an unknown one.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        if word == "*" {
            return Some(Self::ALL);
        }
        let action = Action::ALL
            .into_iter()
            .find(|action| action.as_str() == word)?;
        Some(match action {
            Action::Pull | Action::Delete => Self::from(action),
            Action::Push | Action::TagOverwrite => Self::PUSH,
            Action::TagCreate => Self::TAG_CREATE,
            Action::Admin => Self::ALL,
        })
    }

    /// Whether every right of `other` is among these.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is no right.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The fewest words that give these rights and no other.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        let is_written = move |action: Action| match action {
            Action::Push => self.contains(Self::PUSH),
            Action::TagCreate => self.contains(Self::TAG_CREATE) && !self.contains(Self::PUSH),
            Action::TagOverwrite => false,
            Action::Pull | Action::Delete | Action::Admin => self.contains(action.into()),
        };
        Action::ALL
            .into_iter()
            .filter(move |action| is_written(*action))
            .map(Action::as_str)
    }
}

impl From<Action> for Actions {
    fn from(action: Action) -> Self {
        Self(action.bit())
    }
}

impl BitOr for Actions {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Actions {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Actions {
    type Output = Self;

    fn not(self) -> Self {
        Self(!self.0) & Self::ALL
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.words().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            f.write_str(word)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Actions({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &str) -> Actions {
        let words = words.split(',').filter_map(Actions::of_word);
        words.fold(Actions::NONE, BitOr::bitor)
    }

    #[test]
    fn words_give_what_it_takes_to_use_them() {
        assert!(of("push").contains(Action::TagOverwrite.into()));
        assert!(of("tag-create").contains(Action::Push.into()));
        assert!(!of("tag-create").contains(Action::TagOverwrite.into()));
        assert_eq!(of("tag-overwrite"), of("push"));
        assert_eq!(of("admin"), Actions::ALL);
        assert_eq!(of("*"), Actions::ALL);
        assert!(!of("push").contains(Actions::PULL));
        assert_eq!(Actions::of_word("Pull"), None);
    }

    #[test]
    fn what_is_printed_reads_back_as_itself() {
        for words in ["pull", "pull,push", "pull,tag-create", "delete"] {
            assert_eq!(of(words).to_string(), words);
        }
        assert_eq!(of(&Actions::ALL.to_string()), Actions::ALL);
        assert_eq!((of("tag-create") & of("push")).to_string(), "tag-create");
    }
}
