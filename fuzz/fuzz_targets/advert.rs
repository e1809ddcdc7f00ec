//! Looks for bytes that break `apd::fuzz::advert`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| apd::fuzz::advert(bytes));
