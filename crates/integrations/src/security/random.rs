//! Random bytes of the operating system.

use convene_application::kernel::random::Random;

/// The generator of aws-lc-rs, seeded by the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    fn fill(&self, buffer: &mut [u8]) {
        aws_lc_rs::rand::fill(buffer)
            .expect("a generator that the operating system has seeded does not run dry");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_the_whole_buffer_anew_each_time() {
        let random: &dyn Random = &OsRandom;
        let (first, second) = (random.bytes::<64>(), random.bytes::<64>());
        assert_ne!(first, second);
        // Sixty-four bytes have sixteen equal ones at the end with probability 2⁻¹²⁰.
        assert!(first[48..].iter().any(|byte| *byte != first[48]));
    }
}
