//! Sidecar instances: which there are, and the end of one.

use rekey_model::{InstanceId, SpiffeId};
use rekey_proto::admin as wire;

use super::caller::Caller;
use super::refusal::Refusal;
use super::{Admin, show};
use crate::audit::{Entry, Outcome, Verb};
use crate::store::InstanceRow;

impl Admin {
    pub(super) async fn tell_sidecars(
        &self,
        _caller: &Caller,
        _asked: wire::ListSidecarsRequest,
    ) -> Result<wire::ListSidecarsResponse, Refusal> {
        let mut sidecars = Vec::new();
        for row in self.0.store.instances().await?.into_iter().filter(|row| row.removed.is_none()) {
            let holdings = self.0.store.holdings_of(row.id).await?;
            let credentials = holdings.iter().filter(|holder| holder.gone.is_none()).count();
            sidecars.push(wire::SidecarStatus {
                instance: row.id.to_string(),
                spiffe_id: row.spiffe.to_string(),
                host: row.host.clone(),
                software: row.software.clone(),
                live: self.is_live(&row),
                joined_ms: row.joined.wall_ms,
                last_contact_ms: show::ms(row.last_contact),
                locked: row.locked.clone().unwrap_or_default(),
                credentials: u32::try_from(credentials).unwrap_or(u32::MAX),
                generation: row.generation.0,
            });
        }
        Ok(wire::ListSidecarsResponse { sidecars })
    }

    /// Whether it has a session whose lease runs.
    fn is_live(&self, row: &InstanceRow) -> bool {
        let now = self.0.clock.now();
        let runs = row.last_contact.is_some_and(|last| now.at_least_since(last) < row.lease);
        row.welcome() && row.session.is_some() && runs
    }

    pub(super) async fn end_sidecar(
        &self,
        caller: &Caller,
        asked: wire::RemoveSidecarRequest,
    ) -> Result<wire::RemoveSidecarResponse, Refusal> {
        let reason = show::reason(&asked.reason, false)?;
        let row = self.instance(&asked.sidecar).await?;
        let mut tx = self.0.store.begin().await?;
        tx.remove_instance(row.id).await?;
        let entry = Entry {
            holder: Some(row.id),
            ..Entry::new(caller.actor(), Verb::RemoveSidecar, Outcome::Done).because(reason)
        };
        tx.audit(&entry).await?;
        tx.commit().await?;
        self.0.fleet.cut(row.id);
        Ok(wire::RemoveSidecarResponse { instance: row.id.to_string() })
    }

    /// The instance that is named, by its id or by a SPIFFE id that only it has.
    async fn instance(&self, text: &str) -> Result<InstanceRow, Refusal> {
        let unknown =
            || show::not_found("sidecar", text, "`rekeyctl sidecar list` lists those that there are");
        let rows = self.0.store.instances().await?;
        let mut there = rows.into_iter().filter(|row| row.removed.is_none());
        if let Ok(id) = text.parse::<InstanceId>() {
            return there.find(|row| row.id == id).ok_or_else(unknown);
        }
        let spiffe: SpiffeId = text.parse().map_err(|_id| unknown())?;
        let mut named: Vec<InstanceRow> = there.filter(|row| row.spiffe == spiffe).collect();
        match (named.pop(), named.len()) {
            (None, _) => Err(unknown()),
            (Some(only), 0) => Ok(only),
            (Some(_), more) => Err(Refusal::invalid(
                "sidecar",
                format!("{} instances have this SPIFFE id: name one of them by its instance id", more + 1),
            )),
        }
    }
}
