//! Looks for bytes that break `apd::fuzz::gate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| apd::fuzz::gate(bytes));
