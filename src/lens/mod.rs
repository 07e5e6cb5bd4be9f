//! Lenses: each asks the kernel one kind of question and turns the answers into events.

pub mod follow;
pub mod infer;
pub mod owners;
pub mod table;
