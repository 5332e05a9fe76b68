//! What an error of Redis means, and what several nodes come to together.

use crate::answer::Failed;
use crate::fault::one_line;

/// What a server's error means.
pub(super) fn told(text: &str) -> Failed {
    let shown = one_line(text);
    if asks_to_wait(text) { Failed::Away(shown) } else { Failed::no(shown) }
}

/// All results, or what is wrong: every node that failed is named, and a no weighs more than a wait.
pub(super) fn worst<T>(results: Vec<Result<T, Failed>>) -> Result<Vec<T>, Failed> {
    let (mut good, mut texts, mut refused, mut lost) = (Vec::new(), Vec::new(), false, false);
    for result in results {
        match result {
            Ok(value) => good.push(value),
            Err(failed) => {
                refused |= matches!(failed, Failed::No { .. });
                lost |= matches!(failed, Failed::Lost(_));
                texts.push(failed.to_string());
            }
        }
    }
    let text = texts.join("; ");
    match (texts.is_empty(), refused, lost) {
        (true, ..) => Ok(good),
        (false, true, _) => Err(Failed::no(text)),
        (false, false, true) => Err(Failed::Lost(text)),
        (false, false, false) => Err(Failed::Away(text)),
    }
}

/// Whether the same command may succeed later without anybody changing anything.
fn asks_to_wait(text: &str) -> bool {
    let code = text.split(' ').next().unwrap_or_default();
    ["LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "OOM", "MISCONF", "UNKILLABLE"]
        .contains(&code)
        || ["ERR max number of clients", "ERR There was an error trying to save", "ERR Rewriting config file"]
            .iter()
            .any(|words| text.starts_with(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart() {
        for wait in ["LOADING Redis is loading", "BUSY Redis is busy", "ERR max number of clients reached"] {
            assert!(matches!(told(wait), Failed::Away(_)), "{wait}");
        }
        for no in ["NOPERM this user", "WRONGPASS invalid", "ERR unknown", "BUSYGROUP taken", ""] {
            assert!(matches!(told(no), Failed::No { .. }), "{no}");
        }
    }

    #[test]
    fn every_node_that_failed_is_named() {
        let wait = || Err(Failed::Away("b: w".into()));
        assert_eq!(worst(vec![Ok(1), Ok(2)]), Ok(vec![1, 2]));
        assert_eq!(worst(vec![Ok(1), wait()]), Err(Failed::Away("b: w".into())));
        assert_eq!(worst(vec![Err(Failed::no("a: n")), wait(), Ok(1)]), Err(Failed::no("a: n; b: w")));
        assert_eq!(
            worst(vec![Err::<u8, _>(Failed::Lost("a".into())), wait()]),
            Err(Failed::Lost("a; b: w".into()))
        );
    }
}
