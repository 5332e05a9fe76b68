//! Columns without lines around them: easy to read, easy to cut.

/// Rows under `head`. Nothing is cut off or wrapped, so that `grep` and `awk` see whole lines.
pub(crate) fn columns<const N: usize>(
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows);
    let mut widths = [0; N];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(visible(cell));
        }
    }
    let mut text = String::new();
    for line in &lines {
        let mut shown = String::new();
        for (width, cell) in widths.iter().zip(line) {
            shown.push_str(cell);
            shown.extend(std::iter::repeat_n(' ', width - visible(cell) + 3));
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    text
}

/// How many characters of `text` are seen: colours are not.
fn visible(text: &str) -> usize {
    let mut inside = false;
    let mut seen = 0;
    for c in text.chars() {
        match (inside, c) {
            (false, '\u{1b}') => inside = true,
            (true, 'm') => inside = false,
            (true, _) => {}
            (false, _) => seen += 1,
        }
    }
    seen
}

/// The same, each line moved in by two.
pub(crate) fn indented(text: &str) -> String {
    text.lines().flat_map(|line| ["  ", line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_their_heads() {
        let rows = [["orders/db".to_owned(), "v3".to_owned()], ["a".to_owned(), "-".to_owned()]];
        let text = columns(["NAME", "CURRENT"], rows);
        assert_eq!(text, "NAME        CURRENT\norders/db   v3\na           -\n");
    }

    #[test]
    fn colours_take_no_room() {
        let rows = [["\u{1b}[32mok\u{1b}[0m".to_owned(), "x".to_owned()]];
        assert_eq!(columns(["AB", "C"], rows), "AB   C\n\u{1b}[32mok\u{1b}[0m   x\n");
    }
}
