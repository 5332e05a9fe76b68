//! What must hold of TLS, shown by real handshakes.
