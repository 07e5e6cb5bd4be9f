//! Views: each turns events, or sockets, into something to look at.

pub mod describe;
pub mod ladder;
pub mod notation;
pub mod paint;
pub mod table;
pub mod timeline;
