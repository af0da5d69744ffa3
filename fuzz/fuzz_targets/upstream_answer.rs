//! The fuzzer's way into `upstream_answer` of `src/lib.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| namegate_fuzz::upstream_answer(input));
