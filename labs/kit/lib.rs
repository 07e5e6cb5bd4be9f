//! The little that the labs share: their options, how they report a failure, what they read from the keyboard and how
//! they write to the screen.
//!
//! `socket`, `bind`, `listen`, `accept`, `connect`, `read` and `close` are never called here: they stand in the labs
//! themselves, where they are taught. What a lab once spelled out may move here, for the labs after it.

mod failure;
mod keyboard;
mod options;
mod raw;
mod screen;

pub use failure::{During, Failure};
pub use keyboard::{Keyboard, TypedLines};
pub use options::{ClientOptions, ServerOptions};
pub use raw::{raise_the_limit_of_descriptors, wait_until_connected, write_all};
pub use screen::{Screen, printable, say};

/// Prints one line of a server's log, as `println!` would, and goes on when nobody reads it any more.
///
/// First used in lab 1.
#[macro_export]
macro_rules! say {
    ($($words:tt)*) => { $crate::say(format_args!($($words)*)) };
}
