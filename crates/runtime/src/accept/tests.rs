//! What must hold of the accept layer.
