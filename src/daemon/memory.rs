//! Memory that a large policy took on its way, given back.

/// Patterns from which on it is worth the call: fewer leave less than a megabyte behind.
const LARGE: usize = 10_000;

/// Has the C library hand what is free to the system, if a policy of so many patterns is large. Reading and compiling one
/// leaves tens of megabytes free in each thread's part of the heap, which it would keep for ever.
pub(super) fn give_back_after(patterns: usize) {
    if patterns >= LARGE {
        give_back();
    }
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "a call of the C library that takes no pointer")]
fn give_back() {
    // SAFETY: malloc_trim(3) may be called at any time by any thread; it touches nothing that is in use.
    unsafe { nix::libc::malloc_trim(0) };
}

/// Other C libraries hand it back by themselves, or not at all.
#[cfg(not(target_env = "gnu"))]
fn give_back() {}
