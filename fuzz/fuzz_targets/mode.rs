//! Looks for bytes that break `apd::fuzz::mode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| apd::fuzz::mode(bytes));
