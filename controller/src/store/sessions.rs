//! What sidecars say: hello, acknowledgements, refusals, renewals, reports, goodbye.
//!
//! Everything counts for the current session of an instance only; a message of an earlier session changes nothing.

use std::time::Duration;

use rekey_model::{CredentialName, Generation, InstanceId, Order, SessionId, Version};

use super::columns::{Columns, json, millis, moment, number};
use super::holders::{Update, holding};
use super::{Changed, Nacked, StoreError, Tx};

/// Opens a session.
#[derive(Debug, Clone)]
pub struct Hello<'a> {
    /// Who.
    pub instance: InstanceId,
    /// Drawn by the sidecar for this stream.
    pub session: SessionId,
    /// The program, as it says.
    pub software: &'a str,
    /// The host, as it says.
    pub host: &'a str,
    /// Its last generation.
    pub generation: Generation,
    /// How long it counts as live from now.
    pub lease: Duration,
    /// The credentials that it may have.
    pub granted: &'a [Granted],
}

/// A credential that an instance may have, as it says hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The credential.
    pub credential: CredentialName,
    /// The order of this life of the store that it still holds; zero for one of an earlier life; none: it holds nothing.
    pub held: Option<Order>,
}

/// What a sidecar has swapped to, of one credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The credential.
    pub credential: CredentialName,
    /// The order that it applied: the evidence.
    pub order: Order,
    /// The version that it serves, for display; none when fenced or withdrawn.
    pub version: Option<Version>,
}

/// Whether what a sidecar said was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It was, or changed nothing that was not so already.
    Taken,
    /// It came from a session that is over, or from an instance that is locked or removed: nothing was changed.
    Void,
}

impl Tx {
    /// Opens a session: the one before is over, and everything it acknowledged, refused or reported no longer counts.
    /// The instance holds what is granted; what it held before and may no longer have is marked as withdrawn.
    /// [`Applied::Void`]: unknown, locked or removed.
    pub async fn hello(&mut self, hello: &Hello<'_>) -> Result<Applied, StoreError> {
        let (now, id) = (moment(self.now()), hello.instance.to_string());
        let done = sqlx::query(
            "UPDATE instance SET session = $1, session_seq = session_seq + 1, software = $2, host = $3, \
             generation = $4, last_contact = $5, lease_ms = $6 \
             WHERE id = $7 AND locked IS NULL AND removed IS NULL",
        )
        .bind(hello.session.to_string())
        .bind(hello.software)
        .bind(hello.host)
        .bind(number(hello.generation.0)?)
        .bind(now)
        .bind(millis(hello.lease)?)
        .bind(id.as_str())
        .execute(self.connection())
        .await?;
        if done.rows_affected() == 0 {
            return Ok(Applied::Void);
        }
        sqlx::query(
            "UPDATE holding SET kept_order = COALESCE(acked_order, kept_order), \
             kept_at = COALESCE(acked_at, kept_at), acked_order = NULL, acked_version = NULL, acked_at = NULL, \
             nacked_order = NULL, nacked_reason = NULL, usage = NULL, usage_order = NULL, usage_at = NULL, \
             withdrawn = 1 WHERE instance = $1",
        )
        .bind(id)
        .execute(self.connection())
        .await?;
        for granted in hello.granted {
            self.possess(hello.instance, &granted.credential, granted.held).await?;
        }
        self.will_tell(Changed::Instances);
        self.will_tell_of_holdings(hello.instance).await?;
        Ok(Applied::Taken)
    }

    /// Takes acknowledgements of the current session; the highest order wins. Several calls in one transaction are one
    /// commit: that is how many sidecars share the price of making it durable.
    pub async fn acks(
        &mut self,
        instance: InstanceId,
        session: SessionId,
        acks: &[Ack],
    ) -> Result<Applied, StoreError> {
        if !self.is_current(instance, session).await? {
            return Ok(Applied::Void);
        }
        let now = moment(self.now());
        for ack in acks {
            let sql = holding!(
                "acked_order = $3, acked_version = $4, \
                 acked_at = CASE WHEN kept_order = $3 THEN kept_at ELSE $5 END, \
                 nacked_order = CASE WHEN nacked_order > $3 THEN nacked_order END, \
                 nacked_reason = CASE WHEN nacked_order > $3 THEN nacked_reason END",
                " AND (acked_order IS NULL OR acked_order < $3)"
            );
            let order = number(ack.order.0)?;
            let version = ack.version.map(|v| number(v.get())).transpose()?;
            let bind = |update: Update<'static>| update.bind(order).bind(version).bind(now.clone());
            self.change_holding(instance, &ack.credential, sql, bind).await?;
        }
        Ok(Applied::Taken)
    }

    /// Takes a refusal of the current session.
    pub async fn nack(
        &mut self,
        instance: InstanceId,
        session: SessionId,
        name: &CredentialName,
        nacked: &Nacked,
    ) -> Result<Applied, StoreError> {
        if !self.is_current(instance, session).await? {
            return Ok(Applied::Void);
        }
        let sql = holding!(
            "nacked_order = $3, nacked_reason = $4",
            " AND (acked_order IS NULL OR acked_order < $3)"
        );
        let (order, reason) = (number(nacked.order.0)?, nacked.reason.clone());
        self.change_holding(instance, name, sql, |update| update.bind(order).bind(reason)).await?;
        Ok(Applied::Taken)
    }

    /// Gives the current session another `lease` from now. Grant it to the sidecar only after the commit.
    pub async fn renew(
        &mut self,
        instance: InstanceId,
        session: SessionId,
        lease: Duration,
    ) -> Result<Applied, StoreError> {
        let now = moment(self.now());
        let done = sqlx::query(
            "UPDATE instance SET last_contact = $1, lease_ms = $2 \
             WHERE id = $3 AND session = $4 AND locked IS NULL AND removed IS NULL",
        )
        .bind(now)
        .bind(millis(lease)?)
        .bind(instance.to_string())
        .bind(session.to_string())
        .execute(self.connection())
        .await?;
        Ok(if done.rows_affected() > 0 { Applied::Taken } else { Applied::Void })
    }

    /// Records the generation that is live at an instance; it only rises.
    pub async fn generation(
        &mut self,
        instance: InstanceId,
        session: SessionId,
        generation: Generation,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE instance SET generation = $1 WHERE id = $2 AND session = $3 AND generation < $1")
            .bind(number(generation.0)?)
            .bind(instance.to_string())
            .bind(session.to_string())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Ends the session: its lease is over at once, it counts no longer, and what it could still say is void.
    pub async fn goodbye(&mut self, instance: InstanceId, session: SessionId) -> Result<Applied, StoreError> {
        let now = moment(self.now());
        let done = sqlx::query(
            "UPDATE instance SET session = NULL, lease_ms = 0, last_contact = $1 WHERE id = $2 AND session = $3",
        )
        .bind(now)
        .bind(instance.to_string())
        .bind(session.to_string())
        .execute(self.connection())
        .await?;
        if done.rows_affected() == 0 {
            return Ok(Applied::Void);
        }
        self.will_tell(Changed::Instances);
        self.let_all_go(instance).await?;
        Ok(Applied::Taken)
    }

    /// Takes what the processes behind the current session do; the report replaces the one before.
    pub async fn usage(
        &mut self,
        instance: InstanceId,
        session: SessionId,
        name: &CredentialName,
        reported: (Order, &serde_json::Value),
    ) -> Result<Applied, StoreError> {
        if !self.is_current(instance, session).await? {
            return Ok(Applied::Void);
        }
        let now = moment(self.now());
        let sql = holding!("usage = $3, usage_order = $4, usage_at = $5");
        let (report, order) = (json(reported.1)?, number(reported.0.0)?);
        let bind = |update: Update<'static>| update.bind(report).bind(order).bind(now);
        self.change_holding(instance, name, sql, bind).await?;
        Ok(Applied::Taken)
    }

    async fn is_current(&mut self, instance: InstanceId, session: SessionId) -> Result<bool, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS n FROM instance \
             WHERE id = $1 AND session = $2 AND locked IS NULL AND removed IS NULL",
        )
        .bind(instance.to_string())
        .bind(session.to_string())
        .fetch_one(self.connection())
        .await?;
        Ok(row.number("n")? == 1)
    }
}
