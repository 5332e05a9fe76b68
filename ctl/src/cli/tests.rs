//! The commands as clap has them: sound, with examples, and all in the manual.

use clap::{CommandFactory as _, Parser as _};

use super::{Cli, Command, Format, Until};

/// Every command that can be typed, as it is typed.
fn all() -> Vec<(String, clap::Command)> {
    fn below(command: &clap::Command, typed: &str, found: &mut Vec<(String, clap::Command)>) {
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let typed = format!("{typed} {}", sub.get_name());
            if sub.has_subcommands() {
                below(sub, &typed, found);
            } else {
                found.push((typed, sub.clone()));
            }
        }
    }
    let mut found = Vec::new();
    below(&Cli::command(), "rekeyctl", &mut found);
    found
}

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_commands_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_an_example_that_names_it() {
    for (typed, command) in all() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains(&typed), "`{typed} --help` has no example");
    }
}

#[test]
fn every_command_stands_in_the_manual() {
    let manual =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rekeyctl.md")).unwrap();
    for (typed, _) in all() {
        assert!(manual.contains(&format!("| `{typed}")), "docs/rekeyctl.md lacks `{typed}`");
    }
}

#[test]
fn every_example_can_be_typed() {
    for (typed, command) in all() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in help.lines().filter_map(|line| line.split("rekeyctl ").nth(1)) {
            let line = line.split(['|', '>']).next().unwrap();
            let words = words(&format!("rekeyctl {line}"));
            assert!(Cli::try_parse_from(&words).is_ok(), "{typed}: {words:?} does not parse");
        }
    }
}

/// As a shell splits it, as far as the examples go.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.trim().chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn what_is_dangerous_cannot_be_typed_by_accident() {
    for line in [
        "rekeyctl revoke orders/db",
        "rekeyctl hold orders/db",
        "rekeyctl delete orders/db --end --leave",
        "rekeyctl revoke orders/db@0 --reason x",
        "rekeyctl adopt orders/db secret",
        "rekeyctl adopt orders/db --password secret",
        "rekeyctl rotate Orders/db",
        "rekeyctl rotate orders/db --wait-timeout 1h",
        "rekeyctl token create --for orders",
        "rekeyctl admin add alice",
        "rekeyctl audit query --limit 0",
    ] {
        assert!(parse(line).is_err(), "`{line}` was taken");
    }
}

#[test]
fn waiting_means_until_done_unless_said_otherwise() {
    let wait = |line: &str| {
        let Command::Rotate(args) = parse(line).unwrap().command else { panic!("another command") };
        args.wait.wait
    };
    assert_eq!(wait("rekeyctl rotate a"), None);
    assert_eq!(wait("rekeyctl rotate --wait a"), Some(Until::Done));
    assert_eq!(wait("rekeyctl rotate a --wait=moved"), Some(Until::Moved));
}

#[test]
fn the_output_can_be_chosen_before_and_after_the_command() {
    for line in ["rekeyctl -o json status", "rekeyctl status -o json"] {
        assert_eq!(parse(line).unwrap().global.output, Format::Json);
    }
}

#[test]
fn a_rotation_goes_on_without_holders_only_for_a_reason() {
    assert!(parse("rekeyctl retry orders/db").is_ok());
    assert!(parse("rekeyctl retry orders/db --no-holders --reason gone").is_ok());
    assert!(parse("rekeyctl retry orders/db --no-holders").is_err());
}
