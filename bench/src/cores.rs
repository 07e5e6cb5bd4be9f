//! Which core runs what: the load generator on one, the programs that it measures on another.

use std::io;
use std::mem;

/// The cores of a run. Without a second core nothing is pinned.
#[derive(Clone, Copy)]
pub struct Cores {
    chosen: Option<Pair>,
}

#[derive(Clone, Copy)]
struct Pair {
    generator: usize,
    program: usize,
}

impl Cores {
    /// The first two cores that this process may use.
    pub fn choose() -> io::Result<Self> {
        let allowed = affinity()?;
        // SAFETY: every number is below CPU_SETSIZE, the number of bits in the set.
        let is_allowed = |&core: &usize| unsafe { libc::CPU_ISSET(core, &allowed) };
        let mut cores = (0..libc::CPU_SETSIZE as usize).filter(is_allowed);
        let chosen = cores.next().zip(cores.next()).map(|(program, generator)| Pair { generator, program });
        Ok(Self { chosen })
    }

    /// Runs `start`, which starts a process, on the programs' core: the process inherits it.
    pub fn start_program<T>(self, start: impl FnOnce() -> T) -> io::Result<T> {
        run_on(self.chosen.map(|pair| pair.program), start)
    }

    /// Runs `load` on the generator's core, and so every thread that it starts.
    pub fn generate<T>(self, load: impl FnOnce() -> T) -> io::Result<T> {
        run_on(self.chosen.map(|pair| pair.generator), load)
    }

    /// In words, for the report.
    pub fn describe(self) -> String {
        match self.chosen {
            Some(pair) => format!("programs on core {}, load generator on core {}", pair.program, pair.generator),
            None => "one core for everything".into(),
        }
    }
}

/// Runs `work` on one core, with this thread; afterwards the thread may run where it could before.
fn run_on<T>(core: Option<usize>, work: impl FnOnce() -> T) -> io::Result<T> {
    let Some(core) = core else { return Ok(work()) };
    let before = affinity()?;
    // SAFETY: cpu_set_t is an array of integers, for which zeros are a value.
    let mut only: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: `core` was found in a cpu_set_t, so it is below CPU_SETSIZE, the number of bits in `only`.
    unsafe { libc::CPU_SET(core, &mut only) };
    set_affinity(&only)?;
    let result = work();
    set_affinity(&before)?;
    Ok(result)
}

/// The cores that this thread may run on (sched_getaffinity(2)).
fn affinity() -> io::Result<libc::cpu_set_t> {
    // SAFETY: cpu_set_t is an array of integers, for which zeros are a value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes at most the given size into `set`, which has that size and lives through the call.
    match unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) } {
        0 => Ok(set),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set_affinity(set: &libc::cpu_set_t) -> io::Result<()> {
    // SAFETY: the kernel reads the given size from `set`, which has that size and lives through the call.
    match unsafe { libc::sched_setaffinity(0, size_of_val(set), set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
