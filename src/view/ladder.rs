//! stub
use crate::event::Event;
use crate::view::paint::Page;
pub fn print(_p: &mut Page, _e: &[Event], _s: Option<u16>) -> std::io::Result<()> {
    Ok(())
}
