//! Whom lines for people name.

use std::fmt;

use crate::quota::{Caller, Namespace};

/// Whom the credentials of a request prove, for people; empty where they prove nobody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Named {
    /// The name.
    pub user: Option<Box<str>>,
    /// Whose name that is: another issuer may know somebody else by it.
    pub user_of: Option<String>,
    /// The number of the robot, where it is one. Names of robots are given again.
    pub robot: Option<String>,
}

impl Named {
    /// A caller that is known, and the number of the robot that it is, where it is one.
    pub(super) fn new(caller: Option<Caller<'_>>, robot: Option<String>) -> Self {
        Self {
            user: caller.map(|caller| caller.name.into()),
            user_of: caller.map(|caller| Words(caller.namespace).to_string()),
            robot,
        }
    }
}

/// A namespace in words. That of an issuer begins with a word of its own, so that none
/// can be called so that it looks like another.
struct Words<'a>(Namespace<'a>);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Namespace::Users => f.write_str("users"),
            Namespace::Robots => f.write_str("robots"),
            Namespace::Certificates => f.write_str("certificates"),
            Namespace::Issuer(issuer) => write!(f, "issuer {issuer}"),
        }
    }
}
