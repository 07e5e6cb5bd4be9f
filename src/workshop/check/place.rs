//! Where servers are checked: in a network of their own, or where that is not allowed, on the machine's loopback.

use std::fmt;

use crate::sandbox::Findings;
use crate::sys::sandbox;
use crate::workshop::{Problem, run};

/// What this machine allows, and where we are.
pub struct Place {
    /// A network of our own; or why not.
    pub network: Result<(), String>,
    /// Programs can be followed; or why not.
    pub follow: Result<(), String>,
}

impl Place {
    /// Enters a network of our own where that is allowed. To be called once, while this process has a single thread.
    pub fn enter() -> Self {
        let findings = Findings::of_this_machine();
        let network = findings.network.map(drop).and_then(|()| sandbox::enter().map_err(|refusal| refusal.to_string()));
        Self { network, follow: findings.follow }
    }

    /// Makes the place as if nothing had happened in it, and says which port is to be used.
    pub fn renew(&self, wanted: Option<u16>, labs: u16) -> Result<u16, Problem> {
        match (&self.network, wanted) {
            (Ok(()), wanted) => {
                sandbox::renew().map_err(|refusal| Problem::Told(format!("no new network: {refusal}")))?;
                Ok(wanted.filter(|&port| port != 0).unwrap_or(labs))
            }
            (Err(_), Some(port)) if port != 0 => Ok(port),
            // Another one each time: connections of the check before may be in TIME-WAIT.
            (Err(_), _) => run::free_port(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.network {
            Ok(()) => f.write_str("in a network of its own for each check")?,
            Err(why) => write!(f, "on the machine's loopback ({why})")?,
        }
        match &self.follow {
            Ok(()) => Ok(()),
            Err(why) => write!(f, "; its calls cannot be followed ({why})"),
        }
    }
}
