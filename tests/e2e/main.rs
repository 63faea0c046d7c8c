//! End to end: a whole Convene over HTTP, on a real database of its own.

mod rsvps;
mod story;
