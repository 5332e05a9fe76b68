//! A plug without its types, so that those of all drivers stand in one table.

use std::any::Any;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rekey_model::{Handle, Label, SecretBytes, Version};
use rekey_settings::Section;
use schemars::{Schema, SchemaGenerator};

use super::{BuildError, Facts, Owner, Plug};
use crate::by_hand::ByHand;
use crate::follower::Way;
use crate::{Driver, Place};

/// The settings of a target or an account, of a type that its own driver knows.
pub(crate) type Settings = dyn Any + Send + Sync;

/// A [`Plug`] whose types are hidden. What is given settings of another driver gives nothing.
pub(crate) trait AnyPlug: Send + Sync {
    fn target(&self, section: &Section<'_>, folder: &Path) -> Option<Arc<Settings>>;
    fn account(&self, section: &Section<'_>) -> Option<Arc<Settings>>;
    fn facts(&self, account: &Settings, target: &Label) -> Option<Facts>;
    fn handle(&self, account: &Settings, version: Version, secret: &SecretBytes) -> Option<String>;
    fn life(&self, account: &Settings) -> Option<Duration>;
    fn slots(&self, account: &Settings) -> Option<u32>;
    fn by_hand(&self, account: &Settings) -> Option<ByHand>;
    fn place(&self, target: &Settings, account: &Settings) -> Option<Result<Place, BuildError>>;
    fn may_be_called(&self, account: &Settings, target: &Label, version: Version, handle: &Handle) -> bool;
    fn driver(
        &self,
        target: &Settings,
        account: &Settings,
        owner: Owner,
    ) -> Option<Result<Arc<dyn Driver>, BuildError>>;
    fn driver_by(
        &self,
        target: &Settings,
        account: &Settings,
        owner: Owner,
        way: Way,
    ) -> Option<Result<Arc<dyn Driver>, BuildError>>;
    fn route(&self, target: &Settings) -> Option<(String, u16)>;
    fn schema(&self, generator: &mut SchemaGenerator) -> Schema;
}

/// Hides the types of `P`.
pub(crate) struct Hidden<P>(pub(crate) PhantomData<fn() -> P>);

impl<P: Plug> AnyPlug for Hidden<P> {
    fn target(&self, section: &Section<'_>, folder: &Path) -> Option<Arc<Settings>> {
        Some(Arc::new(P::target(section, folder)?))
    }

    fn account(&self, section: &Section<'_>) -> Option<Arc<Settings>> {
        Some(Arc::new(P::account(section)?))
    }

    fn facts(&self, account: &Settings, target: &Label) -> Option<Facts> {
        Some(P::facts(account.downcast_ref()?, target))
    }

    fn driver(
        &self,
        target: &Settings,
        account: &Settings,
        owner: Owner,
    ) -> Option<Result<Arc<dyn Driver>, BuildError>> {
        Some(P::driver(target.downcast_ref()?, account.downcast_ref()?, owner))
    }

    fn handle(&self, account: &Settings, version: Version, secret: &SecretBytes) -> Option<String> {
        P::handle(account.downcast_ref()?, version, secret)
    }

    fn life(&self, account: &Settings) -> Option<Duration> {
        P::life(account.downcast_ref()?)
    }

    fn slots(&self, account: &Settings) -> Option<u32> {
        P::slots(account.downcast_ref()?)
    }

    fn by_hand(&self, account: &Settings) -> Option<ByHand> {
        P::by_hand(account.downcast_ref()?)
    }

    fn place(&self, target: &Settings, account: &Settings) -> Option<Result<Place, BuildError>> {
        P::place(target.downcast_ref()?, account.downcast_ref()?)
    }

    fn driver_by(
        &self,
        target: &Settings,
        account: &Settings,
        owner: Owner,
        way: Way,
    ) -> Option<Result<Arc<dyn Driver>, BuildError>> {
        P::driver_by(target.downcast_ref()?, account.downcast_ref()?, owner, way)
    }

    fn route(&self, target: &Settings) -> Option<(String, u16)> {
        P::route(target.downcast_ref()?)
    }

    fn may_be_called(&self, account: &Settings, target: &Label, version: Version, handle: &Handle) -> bool {
        account.downcast_ref().is_some_and(|account| P::may_be_called(account, target, version, handle))
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<P::Account>()
    }
}
