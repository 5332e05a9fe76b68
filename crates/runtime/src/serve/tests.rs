//! What must hold of a server that is told to end.
