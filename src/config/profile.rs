//! Presets for the three intervals that belong together. A key that is given explicitly wins.

use super::typed::{Period, ProfileWord};

/// Intervals of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// As written.
    pub name: &'static str,
    /// Between advertisements.
    pub advert_interval: Period,
    /// Between heartbeats.
    pub heartbeat: Period,
    /// T_lease.
    pub lease: Period,
}

/// The preset of a word.
pub const fn profile(word: ProfileWord) -> Profile {
    let (name, advert_interval, heartbeat, lease) = match word {
        ProfileWord::LanFast => ("lan-fast", 20, 20, 80),
        ProfileWord::Default => ("default", 100, 100, 350),
        ProfileWord::Tolerant => ("tolerant", 300, 300, 1_000),
        ProfileWord::Wan => ("wan", 1_000, 1_000, 3_500),
    };
    Profile {
        name,
        advert_interval: Period::milliseconds(advert_interval),
        heartbeat: Period::milliseconds(heartbeat),
        lease: Period::milliseconds(lease),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_profile_satisfies_the_lease_rule() {
        for word in [ProfileWord::LanFast, ProfileWord::Default, ProfileWord::Tolerant, ProfileWord::Wan] {
            let Profile { heartbeat, lease, .. } = profile(word);
            assert!(lease.0 >= heartbeat.0 * 3 + Duration::from_millis(20), "{word:?}");
        }
    }
}
