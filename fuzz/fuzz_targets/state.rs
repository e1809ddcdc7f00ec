//! Looks for bytes that break `apd::fuzz::state`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| apd::fuzz::state(bytes));
