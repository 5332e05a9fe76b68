//! Order rules, fences, what is kept, and what readers see.
