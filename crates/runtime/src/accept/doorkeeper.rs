//! Who may be connected with a certificate: asked of whoever knows what certificates say.

use std::fmt;
use std::sync::Arc;

/// What is the same in all certificates of one peer, as bytes. Means nothing here.
pub type PeerKey = Arc<[u8]>;

/// Knows what certificates say, which the accept layer does not.
pub trait Doorkeeper: fmt::Debug + Send + Sync {
    /// What is the same in all certificates of one peer: its connections are counted together. None: this certificate
    /// is counted by itself.
    fn peer_of(&self, leaf_der: &[u8]) -> Option<PeerKey>;

    /// Whether that peer may be connected. Asked when its connection can be cut already: whoever first says no here and
    /// then cuts misses nobody.
    fn welcomes(&self, peer: &PeerKey) -> bool;
}
