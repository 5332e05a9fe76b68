//! The table of drivers and the one in the manual say the same.

use rekey_drivers::ALL;

const MANUAL: &str = include_str!("../../../../docs/drivers.md");

#[test]
fn the_manual_lists_the_same_drivers() {
    let rows: Vec<Vec<String>> = MANUAL
        .lines()
        .skip_while(|line| !line.starts_with("| driver |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect();
    let ours: Vec<Vec<String>> = ALL
        .iter()
        .map(|kind| {
            let words: Vec<&str> = kind.strategies.iter().map(|strategy| strategy.word()).collect();
            let two: Vec<&str> = kind
                .strategies
                .iter()
                .map(|strategy| if strategy.two_live_versions() { "yes" } else { "no" })
                .collect();
            [format!("`{}`", kind.name), words.join(", "), two.join(", "), kind.class.word().to_owned()]
                .to_vec()
        })
        .collect();
    let shown: Vec<Vec<String>> = rows.iter().map(|row| row[..4].to_vec()).collect();
    assert_eq!(shown, ours);
}

#[test]
fn no_two_drivers_have_one_name() {
    let mut names: Vec<&str> = ALL.iter().map(|kind| kind.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ALL.len());
}
