//! Looks for bytes that break `apd::fuzz::recording`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| apd::fuzz::recording(bytes));
