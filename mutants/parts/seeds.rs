//! Some seeds of the simulator: no promise may be broken.

#[test]
fn no_seed_breaks_a_promise() {
    for seed in 1..=300 {
        let outcome = apd::simulation::run(seed, None, false);
        assert!(outcome.violation.is_none(), "seed {seed}: {:?}", outcome.violation);
    }
}
