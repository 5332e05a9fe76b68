//! Tests of the whole machine. What concerns one file only stands at that file's end.

mod table;
mod world;
