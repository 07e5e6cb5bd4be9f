//! Placeholder.

pub mod console;
pub mod incoming;
pub mod keys;
pub mod line;
pub mod pauses;
pub mod script;
pub mod show;
pub mod talk;
pub mod typed;
pub mod waiting;
