//! "Did you mean": the known word that is nearest to a mistyped one.

/// The nearest of `known`, if it is near enough to be meant.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let word = word.to_lowercase();
    let longest_slip = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(&word, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= longest_slip || (word.len() >= 4 && candidate.starts_with(word.as_str()))
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters must be inserted, left out, replaced or swapped with their neighbour
/// (Damerau and Levenshtein, in the restricted form).
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for row in 1..=left.len() {
        let mut current = vec![row; right.len() + 1];
        for column in 1..=right.len() {
            let same = left[row - 1] == right[column - 1];
            let mut cost = (last[column - 1] + usize::from(!same)).min(last[column] + 1);
            cost = cost.min(current[column - 1] + 1);
            let swapped = row > 1
                && column > 1
                && left[row - 1] == right[column - 2]
                && left[row - 2] == right[column - 1];
            if swapped {
                cost = cost.min(before_last[column - 2] + 1);
            }
            current[column] = cost;
        }
        before_last = last;
        last = current;
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_no_strangers() {
        let known = ["heartbeat", "duration", "gate_ports", "virtual_addresses", "name", "type"];
        for (slip, meant) in [
            ("hartbeat", Some("heartbeat")),
            ("Heartbeat", Some("heartbeat")),
            ("heart_beat", Some("heartbeat")),
            ("virtual_adresses", Some("virtual_addresses")),
            ("virtual_address", Some("virtual_addresses")),
            ("nmae", Some("name")),
            ("gate_port", Some("gate_ports")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(slip, known), meant, "{slip}");
        }
    }

    #[test]
    fn counts_slips() {
        for (left, right, slips) in
            [("", "", 0), ("", "abc", 3), ("abc", "abc", 0), ("abc", "acb", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(left, right), slips, "{left} {right}");
        }
    }
}
