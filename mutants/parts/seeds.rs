//! Some seeds of the simulator and the plans that are kept: no promise may be broken.

use apd::simulation::{Bug, Plan, run, run_plan, run_survivor};
use serde::Deserialize;

#[derive(Deserialize)]
struct Kept {
    bug: Option<Bug>,
    plan: Plan,
}

#[test]
fn no_kept_plan_breaks_a_promise() {
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/regressions")).unwrap() {
        let path = entry.unwrap().path();
        let kept: Kept = toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        if kept.bug.is_none() {
            let violation = run_plan(&kept.plan, None, false).violation;
            assert!(violation.is_none(), "{}: {violation:?}", path.display());
        }
    }
}

#[test]
fn no_seed_breaks_a_promise() {
    for seed in 1..=300 {
        let outcome = run(seed, None, false);
        assert!(outcome.violation.is_none(), "seed {seed}: {:?}", outcome.violation);
        let violation = run_survivor(seed, None, false).violation;
        assert!(violation.is_none(), "survivor {seed}: {violation:?}");
    }
}
