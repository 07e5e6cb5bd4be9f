//! The instruments of socklab: what watches a program's sockets, and shows what the kernel does with them.
//!
//! Parts depend downwards only: [`workshop`] → [`scene`] → {[`lens`], [`sandbox`]} → {[`sys`], [`decode`]} → [`event`] ← [`view`].
//! [`scene`] is a language: it says where a program is to be held, and who plays it stands in [`workshop`].
//! A view knows events, what there is to [`explain`] about them, and of [`sys`] only the terminal that it prints on. Only
//! [`sys`] makes system calls that the standard library does not make, and only there may code be unsafe. [`decode`] turns
//! bytes into values and needs no kernel. [`record`] keeps events in a file, beside [`event`]. No lab depends on any of
//! this.

#![deny(unsafe_code)]

pub mod decode;
pub mod event;
pub mod explain;
pub mod lens;
pub mod record;
pub mod sandbox;
pub mod scene;
pub mod sys;
pub mod view;
pub mod workshop;
