//! Looks for bytes that break `apd::fuzz::configuration`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| apd::fuzz::configuration(bytes));
