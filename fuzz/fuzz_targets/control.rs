//! Looks for bytes that break `apd::fuzz::control`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| apd::fuzz::control(bytes));
