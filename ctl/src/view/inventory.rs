//! `list`, `inventory export`: every credential as one line, for people, spreadsheets and programs.

use std::collections::BTreeMap;
use std::time::Duration;

use rekey_model::Span;
use rekey_proto::admin as wire;
use serde::Serialize;
use serde_json::Value;

use crate::output::{Style, View};
use crate::table::columns;
use crate::text::{or_dash, printable, version};
use crate::time::{At, rough};

/// Every credential with its owner, its age and when it changes next; what changes soonest stands first.
#[derive(Debug, Serialize)]
pub struct Inventory {
    now: Option<At>,
    credentials: Vec<Item>,
}

#[derive(Debug, Serialize)]
struct Item {
    name: String,
    owner: String,
    environment: String,
    class: String,
    kind: String,
    target: String,
    labels: BTreeMap<String, String>,
    version: Option<u64>,
    handle: String,
    created: Option<At>,
    last_rotated: Option<At>,
    next_rotation: Option<At>,
    /// When the target ends the version by itself.
    expires: Option<At>,
    age_seconds: Option<u64>,
    /// How old a version gets, as declared.
    max_age_seconds: Option<u64>,
    /// The age in hundredths of the greatest.
    age_percent: Option<u64>,
    phase: String,
    alarms: Vec<String>,
}

/// The columns of the spreadsheet, in order.
const COLUMNS: [&str; 17] = [
    "name",
    "owner",
    "environment",
    "class",
    "kind",
    "target",
    "labels",
    "version",
    "handle",
    "created",
    "last_rotated",
    "next_rotation",
    "expires",
    "age_seconds",
    "max_age_seconds",
    "age_percent",
    "alarms",
];

impl Inventory {
    /// From the controller's answer.
    pub fn of(answer: wire::StatusResponse) -> Self {
        let now = At::said(answer.now_ms);
        let mut credentials: Vec<Item> =
            answer.credentials.into_iter().map(|credential| Item::of(credential, now)).collect();
        credentials.sort_by(|a, b| {
            let soonest = |item: &Item| (item.next_rotation.is_none(), item.next_rotation);
            soonest(a).cmp(&soonest(b)).then_with(|| a.name.cmp(&b.name))
        });
        Self { now, credentials }
    }

    /// Only those whose next version is due within `span`, overdue ones too.
    #[must_use]
    pub fn expiring_in(mut self, span: Duration) -> Self {
        let soon = |at: At| self.now.is_none_or(|now| now.ago(at) <= span);
        self.credentials.retain(|item| item.next_rotation.is_some_and(soon));
        self
    }

    /// The same lines for a spreadsheet (RFC 4180). A cell that a spreadsheet would take for a formula is text.
    pub fn csv(&self) -> String {
        let mut text = COLUMNS.join(",") + "\r\n";
        for item in &self.credentials {
            let cells = item.cells().map(|cell| quoted(&cell));
            text.push_str(&cells.join(","));
            text.push_str("\r\n");
        }
        text
    }
}

impl Item {
    fn of(credential: wire::CredentialStatus, now: Option<At>) -> Self {
        let spec: Value = serde_json::from_str(&credential.spec_json).unwrap_or_default();
        let labels = spec.get("labels").and_then(Value::as_object);
        let labels = labels.into_iter().flatten().map(|(key, value)| {
            (key.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        });
        let taken: Value = serde_json::from_str(&credential.from_class_json).unwrap_or_default();
        let every = |from: &Value| from.pointer("/schedule/every").and_then(Value::as_str).map(str::to_owned);
        let every = every(&spec).or_else(|| every(&taken));
        let max_age = every.and_then(|every| every.parse::<Span>().ok()).map(|every| every.get().as_secs());
        let current = credential.versions.iter().find(|version| version.version == credential.current);
        let last_rotated = current.and_then(|current| At::said(current.promoted_ms));
        let age = last_rotated.zip(now).map(|(rotated, now)| rotated.ago(now).as_secs());
        let (kind, target) = credential.target.split_once(' ').unwrap_or((&credential.target, ""));
        // Of one whose declaration is of another release, the controller tells nothing but what was declared.
        let said = |key: &str| spec.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let or_said = |told: String, key: &str| if told.is_empty() { said(key) } else { told };
        Self {
            class: said("class"),
            kind: kind.to_owned(),
            target: target.to_owned(),
            labels: labels.collect(),
            version: current.map(|current| current.version),
            handle: current.map(|current| current.handle.clone()).unwrap_or_default(),
            created: current.and_then(|current| At::said(current.created_ms)),
            last_rotated,
            next_rotation: At::said(credential.next_rotation_ms),
            expires: current.and_then(|current| At::said(current.expires_ms)),
            age_seconds: age,
            max_age_seconds: max_age,
            age_percent: age.zip(max_age).and_then(|(age, max)| age.saturating_mul(100).checked_div(max)),
            phase: credential.rotation.map(|rotation| rotation.phase).unwrap_or_default(),
            alarms: credential.alarms.into_iter().map(|alarm| alarm.kind).collect(),
            name: credential.name,
            owner: or_said(credential.owner, "owner"),
            environment: or_said(credential.environment, "environment"),
        }
    }

    fn cells(&self) -> [String; COLUMNS.len()] {
        let number = |number: Option<u64>| number.map(|it| it.to_string()).unwrap_or_default();
        let moment = |at: Option<At>| at.map(|it| it.to_string()).unwrap_or_default();
        let labels: Vec<String> = self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        [
            self.name.clone(),
            self.owner.clone(),
            self.environment.clone(),
            self.class.clone(),
            self.kind.clone(),
            self.target.clone(),
            labels.join(";"),
            number(self.version),
            self.handle.clone(),
            moment(self.created),
            moment(self.last_rotated),
            moment(self.next_rotation),
            moment(self.expires),
            number(self.age_seconds),
            number(self.max_age_seconds),
            number(self.age_percent),
            self.alarms.join(";"),
        ]
    }
}

fn quoted(cell: &str) -> String {
    let formula = cell.trim_start().starts_with(['=', '+', '-', '@']) || cell.starts_with(['\t', '\r', '\n']);
    let cell = if formula { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}

impl View for Inventory {
    fn text(&self, _style: Style) -> String {
        let span = |seconds: Option<u64>| {
            seconds.map_or_else(|| "-".to_owned(), |seconds| rough(Duration::from_secs(seconds)))
        };
        let due = |at: Option<At>| match (at, self.now) {
            (Some(at), Some(now)) if at < now => format!("overdue since {}", rough(at.ago(now))),
            (Some(at), Some(now)) => at.told_at(now),
            (Some(_), None) | (None, _) => "-".to_owned(),
        };
        if self.credentials.is_empty() {
            return "none\n".to_owned();
        }
        columns(
            ["NAME", "ENVIRONMENT", "OWNER", "KIND", "VERSION", "AGE", "MAX AGE", "NEXT", "ALARMS"],
            self.credentials.iter().map(|item| {
                [
                    printable(&item.name),
                    printable(&item.environment),
                    printable(&item.owner),
                    printable(&item.kind),
                    version(item.version.unwrap_or(0)),
                    span(item.age_seconds),
                    span(item.max_age_seconds),
                    due(item.next_rotation),
                    or_dash(&item.alarms.join(", ")),
                ]
            }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    fn status(name: &str, next_days: i64) -> wire::CredentialStatus {
        wire::CredentialStatus {
            name: name.to_owned(),
            owner: "team".to_owned(),
            environment: "production".to_owned(),
            target: "postgres orders-pg".to_owned(),
            current: 3,
            versions: vec![wire::VersionStatus {
                version: 3,
                handle: "app_v3_x".to_owned(),
                created_ms: 90 * DAY,
                promoted_ms: 91 * DAY,
                expires_ms: 190 * DAY,
                ..Default::default()
            }],
            next_rotation_ms: if next_days == 0 { 0 } else { next_days * DAY },
            spec_json: r#"{"labels":{"tier":"=1+1,\"x\""},"schedule":{"every":"30d"}}"#.to_owned(),
            ..Default::default()
        }
    }

    fn inventory() -> Inventory {
        Inventory::of(wire::StatusResponse {
            credentials: vec![
                status("never", 0),
                status("late", 99),
                status("soon", 104),
                status("far", 121),
            ],
            now_ms: 100 * DAY,
            ..Default::default()
        })
    }

    #[test]
    fn what_changes_soonest_stands_first_and_what_never_does_last() {
        let names: Vec<String> = inventory().credentials.into_iter().map(|item| item.name).collect();
        assert_eq!(names, ["late", "soon", "far", "never"]);
        let soon = inventory().expiring_in(Duration::from_hours(7 * 24));
        assert_eq!(soon.credentials.iter().map(|item| &*item.name).collect::<Vec<_>>(), ["late", "soon"]);
        let text = inventory().text(Style::Plain);
        assert!(text.contains("overdue since 1 d"), "{text}");
    }

    #[test]
    fn age_is_told_against_the_greatest() {
        let item = &inventory().credentials[0];
        assert_eq!(
            (item.age_seconds, item.max_age_seconds, item.age_percent),
            (Some(777_600), Some(2_592_000), Some(30))
        );
        assert_eq!((&*item.kind, &*item.target), ("postgres", "orders-pg"));
    }

    #[test]
    fn a_spreadsheet_gets_text_and_no_formulas() {
        let csv = inventory().expiring_in(Duration::ZERO).csv();
        let lines: Vec<&str> = csv.split("\r\n").collect();
        assert_eq!(lines[0], COLUMNS.join(","));
        assert!(
            lines[1].starts_with(
                "late,team,production,,postgres,orders-pg,\"tier==1+1,\"\"x\"\"\",3,app_v3_x,1970-04-01T"
            ),
            "{}",
            lines[1]
        );
        assert_eq!(quoted("=SUM(A1)"), "'=SUM(A1)");
        assert_eq!(quoted("@x,\"y\""), "\"'@x,\"\"y\"\"\"");
        assert_eq!(quoted("a\nb"), "\"a\nb\"");
    }

    /// The cells of a spreadsheet, read as RFC 4180 says.
    fn read(csv: &str) -> Vec<Vec<String>> {
        let (mut rows, mut row, mut cell, mut inside) = (Vec::new(), Vec::new(), String::new(), false);
        let mut rest = csv.chars().peekable();
        while let Some(c) = rest.next() {
            match (c, inside) {
                ('"', true) if rest.peek() == Some(&'"') => cell.extend(rest.next()),
                ('"', _) => inside = !inside,
                (',', false) => row.push(std::mem::take(&mut cell)),
                ('\r', false) => {
                    assert_eq!(rest.next(), Some('\n'), "a line ends with CR and LF");
                    row.push(std::mem::take(&mut cell));
                    rows.push(std::mem::take(&mut row));
                }
                (c, _) => cell.push(c),
            }
        }
        assert!(!inside && row.is_empty() && cell.is_empty(), "the last line has its end too");
        rows
    }

    #[test]
    fn three_environments_come_back_from_a_spreadsheet_column_by_column() {
        let environments = [("production", "90d"), ("staging", "180d"), ("development", "365d")];
        let credentials = environments.map(|(environment, every)| wire::CredentialStatus {
            environment: environment.to_owned(),
            owner: "Team \"A\", B\n-1".to_owned(),
            spec_json: r#"{"class":"databases","labels":{"cost-center":"4711","x":" =1"}}"#.to_owned(),
            from_class_json: format!(r#"{{"schedule":{{"every":"{every}"}}}}"#),
            alarms: vec![wire::Alarm { kind: "stuck".to_owned(), ..Default::default() }; 2],
            ..status(environment, 0)
        });
        let unreadable = wire::CredentialStatus {
            name: "zz".to_owned(),
            spec_json: r#"{"owner":"=cmd()","environment":"staging"}"#.to_owned(),
            ..Default::default()
        };
        let credentials = credentials.into_iter().chain([unreadable]).collect();
        let now_ms = 100 * DAY;
        let csv = Inventory::of(wire::StatusResponse { credentials, now_ms, ..Default::default() }).csv();
        let rows = read(&csv);
        assert_eq!(rows.len(), 5);
        assert!(rows.iter().all(|row| row.len() == COLUMNS.len()), "{rows:?}");
        let cell = |row: &[String], column: &str| -> String {
            row[COLUMNS.iter().position(|it| *it == column).unwrap()].clone()
        };
        for (row, (environment, max_age)) in
            rows[1..].iter().zip([("development", 365), ("production", 90), ("staging", 180)])
        {
            for (column, said) in [
                ("name", environment),
                ("owner", "Team \"A\", B\n-1"),
                ("environment", environment),
                ("class", "databases"),
                ("kind", "postgres"),
                ("target", "orders-pg"),
                ("labels", "cost-center=4711;x= =1"),
                ("version", "3"),
                ("handle", "app_v3_x"),
                ("created", "1970-04-01T00:00:00.000Z"),
                ("last_rotated", "1970-04-02T00:00:00.000Z"),
                ("next_rotation", ""),
                ("expires", "1970-07-10T00:00:00.000Z"),
                ("age_seconds", "777600"),
                ("max_age_seconds", &(max_age * 86_400).to_string()),
                ("age_percent", &(900 / max_age).to_string()),
                ("alarms", "stuck;stuck"),
            ] {
                assert_eq!(cell(row, column), said, "{column} of {environment}");
            }
        }
        assert_eq!(
            (cell(&rows[4], "owner"), cell(&rows[4], "environment")),
            ("'=cmd()".into(), "staging".into())
        );
        for evil in ["=1", "+1", "-1", "@x", " =1", "\t=1", "\n=1", "\r1"] {
            assert_eq!(read(&format!("{}\r\n", quoted(evil)))[0][0], format!("'{evil}"));
        }
    }
}
