//! Files of declarations: found, read as YAML, and every problem shown with its file and line.

use std::path::{Path, PathBuf};

use rekey_proto::admin::SpecProblem;
use rekey_settings::{Document, Problem};

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::files;

/// The most documents in one command: what one answer can hold.
const MOST: usize = 10_000;

/// The declarations in `paths`, in the order of the files' names; with a problem in one, all problems of all.
pub(crate) fn read(paths: &[PathBuf]) -> Outcome<Vec<Document>> {
    let mut documents = Vec::new();
    let mut problems = Vec::new();
    for path in find(paths)? {
        let name = path.display().to_string();
        let bytes = files::read(&path)?;
        let text = String::from_utf8(bytes).map_err(|_utf8| {
            Failure::new(Exit::Invalid, format!("{name} is not UTF-8 text"), "save it as UTF-8")
        })?;
        match Document::parse_all(&name, &text) {
            Ok(found) => documents.extend(found),
            Err(found) => problems.extend(found.0),
        }
    }
    if !problems.is_empty() {
        return Err(failure(&problems));
    }
    if documents.is_empty() || documents.len() > MOST {
        let message = format!("there are {} declarations in what was named", documents.len());
        return Err(Failure::new(Exit::Invalid, message, format!("name between 1 and {MOST}")));
    }
    Ok(documents)
}

/// What the controller found wrong, at the places where it stands.
pub(crate) fn problems_at(documents: &[Document], found: &[SpecProblem]) -> Failure {
    let placed = found.iter().map(|problem| {
        let document = usize::try_from(problem.spec).ok().and_then(|index| documents.get(index));
        document.map_or_else(
            || Problem {
                file: "-".to_owned(),
                line: 0,
                field: problem.field.clone(),
                message: problem.message.clone(),
                remedy: problem.remedy.clone(),
            },
            |document| document.problem(&problem.field, &problem.message, &problem.remedy),
        )
    });
    failure(&placed.collect::<Vec<_>>())
}

/// All problems as one failure: `file:line: field: message`, and the remedy below.
fn failure(problems: &[Problem]) -> Failure {
    let mut lines = vec!["nothing was changed:".to_owned()];
    for problem in problems {
        let place = if problem.line == 0 {
            problem.file.clone()
        } else {
            format!("{}:{}", problem.file, problem.line)
        };
        let field = if problem.field.is_empty() { String::new() } else { format!("{}: ", problem.field) };
        lines.push(format!("{place}: {field}{}", problem.message));
        if !problem.remedy.is_empty() {
            lines.push(format!("  -> {}", problem.remedy));
        }
    }
    Failure::new(Exit::Invalid, lines.join("\n"), "")
}

/// The files that `paths` name: themselves, or the `.yaml` and `.yml` files directly in them.
fn find(paths: &[PathBuf]) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        if path != Path::new("-") && path.is_dir() {
            found.extend(inside(path)?);
        } else {
            found.push(path.clone());
        }
    }
    Ok(found)
}

fn inside(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let cannot = |error: std::io::Error| Failure::local(format!("cannot read {}", folder.display()), &error);
    let is_yaml = |path: &Path| path.extension().is_some_and(|end| end == "yaml" || end == "yml");
    let entries = std::fs::read_dir(folder).map_err(cannot)?;
    let all = entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>().map_err(cannot)?;
    let mut files: Vec<PathBuf> = all.into_iter().filter(|path| is_yaml(path)).collect();
    files.sort();
    if files.is_empty() {
        let message = format!("{} holds no .yaml and no .yml file", folder.display());
        return Err(Failure::new(Exit::NotFound, message, "name a file, or another folder"));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "# two\ncredential: a\ngrace:\n  floor: 1h\n---\ncredential: b\ngrace: { floor: 1s }\n";

    #[test]
    fn a_folder_is_read_in_the_order_of_its_names() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("b.yml"), "credential: c\n").unwrap();
        std::fs::write(folder.path().join("a.yaml"), TWO).unwrap();
        std::fs::write(folder.path().join("notes.txt"), "not: read\n").unwrap();
        let documents = read(&[folder.path().to_owned()]).unwrap();
        let names: Vec<_> = documents.iter().map(|d| d.value()["credential"].clone()).collect();
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[test]
    fn a_problem_is_shown_with_file_line_field_and_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("two.yaml");
        std::fs::write(&path, TWO).unwrap();
        let documents = read(std::slice::from_ref(&path)).unwrap();
        let problem = |spec, field: &str| SpecProblem {
            spec,
            field: field.to_owned(),
            message: "is short".to_owned(),
            remedy: "write more".to_owned(),
        };
        let failure = problems_at(&documents, &[problem(0, "grace.floor"), problem(1, "grace.quiet")]);
        let file = path.display();
        let wanted = format!(
            "nothing was changed:\n{file}:4: grace.floor: is short\n  -> write more\n{file}:7: grace.quiet: is short\n  -> write more"
        );
        assert_eq!(failure.message, wanted);
        assert_eq!(failure.exit, Exit::Invalid);
    }

    #[test]
    fn broken_yaml_is_shown_with_its_line_for_all_files_at_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.yaml"), "credential: [\n").unwrap();
        std::fs::write(folder.path().join("b.yaml"), "a: 1\na: 2\n").unwrap();
        let failure = read(&[folder.path().to_owned()]).unwrap_err();
        assert!(failure.message.contains("a.yaml:"), "{failure:?}");
        assert!(failure.message.contains("b.yaml:2"), "{failure:?}");
    }

    #[test]
    fn nothing_to_apply_is_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(&[folder.path().to_owned()]).unwrap_err().exit, Exit::NotFound);
        assert_eq!(read(&[folder.path().join("none.yaml")]).unwrap_err().exit, Exit::NotFound);
    }
}
