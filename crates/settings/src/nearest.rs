//! Which known word somebody may have meant.

/// The known word that is closest to `word`, if one is close enough to have been meant.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters must be put in, taken out or changed.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.chars().take(64).enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        for (above, (corner, other)) in row.iter().skip(1).zip(row.iter().zip(&to)) {
            left = (left + 1).min(above + 1).min(corner + usize::from(letter != *other));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_understood_and_another_word_is_not() {
        let known = ["floor", "quiet", "deadline", "max_reconnect"];
        assert_eq!(nearest("flor", &known), Some("floor"));
        assert_eq!(nearest("max-reconnect", &known), Some("max_reconnect"));
        assert_eq!(nearest("deadlnie", &known), Some("deadline"));
        assert_eq!(nearest("window", &known), None);
        assert_eq!(nearest("", &[]), None);
    }

    #[test]
    fn the_distance_counts_letters() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
