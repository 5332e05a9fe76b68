//! What is shown: one type an answer, for people as text and for programs as JSON (docs/rekeyctl.md).

mod audit;
mod by_hand;
mod credential;
mod declared;
mod here;
mod holders;
mod inventory;
mod people;
mod receipt;
mod reconciling;
mod refreshed;
mod rotation;
mod verified;
mod webhooks;

pub use audit::Audit;
pub use credential::{Declared, Holders, Status};
pub use declared::{Applied, Done};
pub use here::{KnownContexts, Versions};
pub use holders::Who;
pub use inventory::Inventory;
pub use people::{Admins, Me, Sidecars, Token, Tokens};
pub use receipt::Revocation;
pub use reconciling::Reconciling;
pub use refreshed::Refreshed;
pub use rotation::{Begun, Plan, Progress, Rotation};
pub use verified::Verified;
pub use webhooks::{TestedWebhook, Webhooks};
