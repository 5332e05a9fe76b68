//! An application on Redis: it logs in anew at every node each time, and keeps one connection for a while.

use rekey_testkit::redis::Client;

use crate::consumer::Turn;

/// How often a connection is used before another takes its place.
const LIFETIME: u32 = 30;

/// What it does each time: `command` (words separated by spaces), at each of `ports` and on the kept connection.
pub(crate) fn commands(
    ports: Vec<u16>,
    command: &str,
) -> impl FnMut(&Turn<'_>) -> Result<(), String> + Send + 'static {
    let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
    let mut kept = None;
    move |turn| {
        let (user, password) = (turn.text("username")?, turn.text("password")?);
        let mut last = None;
        for port in &ports {
            let mut client = Client::log_in(*port, user, password)
                .map_err(|error| format!("a login at {port}: {error:#}"))?;
            run(&mut client, &words).map_err(|error| format!("a command at {port}: {error}"))?;
            last = Some(client);
        }
        match &mut kept {
            Some((times, client, _in_use)) if *times < LIFETIME => {
                *times += 1;
                let again = run(client, &words);
                if let Err(error) = again {
                    kept = None;
                    return Err(format!("a connection that was kept: {error}"));
                }
            }
            _over => kept = last.map(|client| (0, client, turn.hold())),
        }
        Ok(())
    }
}

fn run(client: &mut Client, words: &[String]) -> Result<(), String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    client.run(&words).map(drop).map_err(|error| format!("{error:#}"))
}
