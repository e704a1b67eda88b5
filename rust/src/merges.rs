// SPDX-License-Identifier: Apache-2.0
//! BPE merges for vocabularies that have ranks or scores instead of a list of merges.

use std::collections::HashMap;

/// Every way to make a piece from two others, best pieces first; of one piece, the halves with the
/// smaller ids first. `pieces` are (text, id), best first; both halves must be among them.
/// The rule of `generate_merges` in HF's convert_slow_tokenizer.py.
pub fn merges_of_ranked(pieces: &[(&str, u32)]) -> Vec<(String, String)> {
    let ids: HashMap<&str, u32> = pieces.iter().copied().collect();
    let mut merges = Vec::new();
    for (piece, _) in pieces {
        let mut halves: Vec<(u32, u32, &str, &str)> = piece
            .char_indices()
            .skip(1)
            .filter_map(|(at, _)| {
                let (left, right) = piece.split_at(at);
                Some((*ids.get(left)?, *ids.get(right)?, left, right))
            })
            .collect();
        halves.sort_unstable();
        merges.extend(halves.into_iter().map(|(_, _, l, r)| (l.to_string(), r.to_string())));
    }
    merges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_pieces_come_first_and_unknown_halves_are_left_out() {
        let merges =
            merges_of_ranked(&[("bc", 9), ("ab", 3), ("abc", 4), ("a", 0), ("c", 2), ("b", 1)]);
        let merges: Vec<_> = merges.iter().map(|(l, r)| (l.as_str(), r.as_str())).collect();
        assert_eq!(merges, [("b", "c"), ("a", "b"), ("a", "bc"), ("ab", "c")]);
    }
}
