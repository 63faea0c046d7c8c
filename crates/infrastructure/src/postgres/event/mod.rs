//! Events and who organises them. Their capacity lies with their seats, which another module owns.

mod reads;
mod rows;
mod tx;
