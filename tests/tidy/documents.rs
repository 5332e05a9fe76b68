//! What the documents name is there.

use crate::tree::{ends_in, files, none, top};

/// In `docs/adding-a-driver.md`: the driver that its reader is about to add.
const TO_COME: &str = "/thing";

#[test]
fn every_path_in_a_document_is_there() {
    let mut problems = Vec::new();
    let mut looked_at = 0;
    for file in files(|path| ends_in(path, &["md"])) {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (number, line) in file.text.lines().enumerate() {
            let links = linked(line).map(|path| top().join(folder).join(path));
            let named = quoted(line).filter(|path| is_ours(path)).map(|path| top().join(path));
            for path in links.chain(named) {
                looked_at += 1;
                if !path.exists() && !path.to_string_lossy().contains(TO_COME) {
                    problems.push(format!("{}:{}: {}", file.path, number + 1, path.display()));
                }
            }
        }
    }
    assert!(looked_at > 100, "documents were not understood: {looked_at}");
    none("paths in documents that are not there", &problems);
}

/// Where the links of a line lead, those to other places left out.
fn linked(line: &str) -> impl Iterator<Item = &str> {
    let ends = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    ends.filter(|path| !path.is_empty() && !path.contains(':'))
}

/// What a line has between backticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Whether it is a path below one of our folders, and no pattern. What a build or a run writes below `target/` is not there
/// before it.
fn is_ours(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    let folder = text.split_once('/').map(|(folder, _)| folder);
    text.chars().all(plain)
        && folder.is_some_and(|it| {
            it != "target" && !it.is_empty() && !it.contains('.') && top().join(it).is_dir()
        })
}
