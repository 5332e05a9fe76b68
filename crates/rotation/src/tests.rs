//! Tests of the whole machine. What concerns one file only stands at that file's end.

mod canary;
mod emergencies;
mod errors;
mod explore;
mod given;
mod grace;
mod groups;
mod guard;
mod making;
mod properties;
mod restore;
mod schedule;
mod single;
mod table;
mod world;
