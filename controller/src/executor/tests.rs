//! The executor with a real store, a scripted target and a small fleet, on a clock that is moved by hand.

mod canary;
mod classes;
mod driver;
mod faults;
mod follow;
mod given;
mod judge;
mod life;
mod restore;
mod single;
mod stage;
mod staging;
mod ties;
