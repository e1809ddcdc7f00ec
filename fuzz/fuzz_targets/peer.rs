//! Looks for bytes that break `apd::fuzz::peer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| apd::fuzz::peer(bytes));
