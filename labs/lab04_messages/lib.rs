//! Placeholder.

pub mod frames;
