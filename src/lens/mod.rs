//! Lenses: each asks the kernel one kind of question and turns the answers into events.

pub mod calls;
pub mod follow;
pub mod infer;
pub mod observe;
pub mod owners;
pub mod segments;
pub mod table;
