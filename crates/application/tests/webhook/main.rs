//! The use cases of webhooks, over fakes: endpoints, what is delivered to them, and what happens when that fails.

#[cfg(test)]
mod delivery;
#[cfg(test)]
mod endpoints;
#[cfg(test)]
mod failing;
#[cfg(test)]
mod replaying;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod signing;
