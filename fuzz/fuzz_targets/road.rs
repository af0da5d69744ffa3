//! The fuzzer's way into `road` of `src/lib.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| namegate_fuzz::road(input));
