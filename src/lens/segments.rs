//! stub
use crate::event::Event;
use std::io;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};
pub struct Segments;
#[derive(Default, Clone, Copy, Debug)]
pub struct Statistics {
    pub captured: u64,
    pub dropped: u64,
}
impl Segments {
    pub fn start(_i: &str, _p: Option<u16>, _s: Instant, _t: SyncSender<Event>) -> io::Result<Self> {
        Ok(Self)
    }
    pub fn delivered_until(&self) -> Duration {
        Duration::MAX
    }
    pub fn stop(self) -> Statistics {
        Statistics::default()
    }
}
