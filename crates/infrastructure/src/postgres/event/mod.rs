//! Events and who organises them. Their capacity lies with their seats, which another module owns.

pub(in crate::postgres) mod load;
mod reads;
mod rows;
mod tx;
