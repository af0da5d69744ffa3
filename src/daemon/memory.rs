//! How the C library is to go about memory, told before there is anything in it.
//!
//! Left alone, it gives each thread a part of the heap of its own, and what one thread frees there is no use to another: a
//! cache of 64 MiB that one worker has filled grows to 100 when the others fill it anew. Large blocks it takes from the
//! kernel one by one at first, and then, to save calls, out of those parts too, where the tables of a large policy leave
//! holes that nothing else fills.

/// Blocks from this size on are the kernel's own, and his again when they are freed. No query needs one so large.
#[cfg(target_env = "gnu")]
const APART_OCTETS: usize = 256 * 1024;

/// Threads that answer from memory do not allocate, and what the others take and give mostly goes through a store that each
/// has to itself; so many processors can share a part of the heap before they wait for each other.
#[cfg(target_env = "gnu")]
const PROCESSORS_A_PART: usize = 8;

/// Keeps memory together. To be called once, before there are further threads.
#[cfg(target_env = "gnu")]
pub fn keep_memory_together() {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    tell(
        nix::libc::M_ARENA_MAX,
        processors.div_ceil(PROCESSORS_A_PART),
    );
    tell(nix::libc::M_MMAP_THRESHOLD, APART_OCTETS);
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "a call of the C library that takes no pointer")]
fn tell(what: nix::libc::c_int, value: usize) {
    let value = nix::libc::c_int::try_from(value).unwrap_or(nix::libc::c_int::MAX);
    // SAFETY: mallopt(3) may be called at any time by any thread; it changes what is asked for from now on.
    unsafe { nix::libc::mallopt(what, value) };
}

/// Other C libraries have no such parts.
#[cfg(not(target_env = "gnu"))]
pub fn keep_memory_together() {}
