//! The store on a PostgreSQL elsewhere: over TLS to the server that is meant, or not at all.

use rekey_testkit::certificates::Authority;
use rekey_testkit::postgres::{Options, Postgres};
use rekey_testkit::process::{Launch, Process};
use rekey_testkit::system::{Programs, write_private};
use rekey_testkit::unprivileged;

use crate::story::{Home, PATIENCE};

/// A controller whose store is on a server of its own, which lets in nobody without TLS.
struct Elsewhere {
    server: Postgres,
    folder: Home,
}

impl Elsewhere {
    /// The server's certificate is for `name`; the controller reaches it as 127.0.0.1.
    fn new(test: &str, name: &str) -> Self {
        let server = Postgres::start(Options { tls: Some(vec![name.into()]), ..Options::default() });
        server.sql("CREATE ROLE rekey_store LOGIN PASSWORD 'for-the-store'");
        server.sql("CREATE DATABASE rekey OWNER rekey_store");
        let folder = Home::of(test);
        let config = format!(
            "installation: {{ trust_domain: rekey.local }}
store:
  postgres:
    host: 127.0.0.1
    port: {}
    database: rekey
    user: rekey_store
    password_file: store-password
    ca_file: store-ca.pem
kek_file: kek
ca_file: ca.pem
fleet: {{ listen: 127.0.0.1:0, names: [localhost] }}
admin: {{ listen: 127.0.0.1:0, socket: admin.sock }}
",
            server.port()
        );
        write_private(&folder.join("controller.yaml"), &config).unwrap();
        write_private(&folder.join("store-password"), "for-the-store").unwrap();
        write_private(&folder.join("store-ca.pem"), server.ca_pem().unwrap()).unwrap();
        Self { server, folder }
    }

    fn controller(&self, verb: &str) -> Process {
        let program = Programs::built().unwrap().controller;
        let launch = Launch::new(program, self.folder.join(format!("{verb}.log"))).folder(&*self.folder);
        launch.owner(unprivileged()).args([verb, "--config", "controller.yaml"]).start().unwrap()
    }

    /// What `init` says when it does not work.
    fn refused(&self) -> String {
        let mut init = self.controller("init");
        let status = init.wait(PATIENCE).unwrap();
        assert!(!status.success(), "it was not refused: {}", init.log());
        let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
        assert_eq!(self.server.sql_in("rekey", tables), [[Some("0".to_owned())]]);
        init.log()
    }
}

#[test]
fn the_store_is_reached_over_tls_by_the_authority_that_is_named() {
    let there = Elsewhere::new("store-tls", "127.0.0.1");
    let mut init = there.controller("init");
    assert!(init.wait(PATIENCE).unwrap().success(), "{}", init.log());
    let mut controller = there.controller("run");
    controller.wait_for_log("controller ready", PATIENCE).unwrap();
    let protected = "SELECT DISTINCT s.ssl, s.version FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
                     WHERE a.usename = 'rekey_store'";
    let row = vec![Some("t".to_owned()), Some("TLSv1.3".to_owned())];
    assert_eq!(there.server.sql(protected), [row]);
}

#[test]
fn a_store_by_another_authority_is_refused_and_nothing_is_made_in_it() {
    let there = Elsewhere::new("store-ca", "127.0.0.1");
    let stranger = Authority::new("PostgreSQL test authority").unwrap();
    write_private(&there.folder.join("store-ca.pem"), stranger.pem()).unwrap();
    let said = there.refused();
    for wanted in ["certificate", "store.postgres.ca_file"] {
        assert!(said.contains(wanted), "{wanted} is not in: {said}");
    }
    assert!(!said.contains("for-the-store"), "{said}");
}

#[test]
fn a_store_with_the_certificate_of_another_host_is_refused() {
    let there = Elsewhere::new("store-name", "elsewhere.example");
    let said = there.refused();
    for wanted in ["store.postgres.host", "127.0.0.1"] {
        assert!(said.contains(wanted), "{wanted} is not in: {said}");
    }
}
