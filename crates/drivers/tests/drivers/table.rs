//! The table of drivers and the one in the manual say the same.

use rekey_drivers::{ALL, FOLLOWERS};

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
fn the_manual_lists_the_same_followers() {
    let rows = MANUAL.lines().skip_while(|line| !line.starts_with("| follower |")).skip(2);
    let shown: Vec<Vec<&str>> = rows
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).take(2).collect())
        .collect();
    let ours = FOLLOWERS.iter().map(|kind| vec![format!("`{}`", kind.name), format!("`{}`", kind.before)]);
    assert_eq!(shown, ours.collect::<Vec<_>>());
}

#[test]
fn no_two_kinds_have_one_name() {
    let names = || ALL.iter().map(|kind| kind.name).chain(FOLLOWERS.iter().map(|kind| kind.name));
    assert_eq!(names().collect::<std::collections::BTreeSet<_>>().len(), names().count());
    assert!(FOLLOWERS.iter().all(|follower| ALL.iter().any(|kind| kind.name == follower.before)));
}
