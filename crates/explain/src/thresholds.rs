//! Every number that a verdict turns on, with what it was chosen by.
//!
//! `cargo xtask faults --calibrate` prints, for each that a record can show, the largest value that
//! a case without a fault reaches and the smallest that a fault needs: a threshold belongs between
//! the two.

/// Probability that any site of a run is called an origin by mistake; all sites and prompts share
/// it.
///
/// Of 721 cases without a fault none has one.
pub(crate) const FALSE_ALARMS: f64 = 0.01;

/// How many times the largest floor a divergence is before no scatter over positions can make it
/// noise.
///
/// Of 721 cases without a fault the largest multiple is 9.3.
pub(crate) const CLEAR: f64 = 10.0;

/// How many times the largest floor, be that as small as it may.
pub(crate) const FAR: f64 = 1000.0;

/// KL in nats that is exceeded as well: where no order changes a bit, ten times nothing says
/// nothing.
pub(crate) const LEAST_KL: f64 = 1e-6;

/// How many times what noise changes a logit by a margin may be for noise to have flipped the
/// token: one logit may rise and the other fall by as much.
///
/// No token of 721 cases without a fault flips beyond that.
pub(crate) const NEAR_TIE: f64 = 2.0;

/// Positions that a divergence within the floor needs to be called noise.
///
/// A choice, not a measurement: over a few positions a divergence of several times the floor can
/// scatter as much as the floor does. On the bench, at 8 positions and more, at least 97 % of the
/// faults of twice the floor are told from it.
pub(crate) const DECIDES: usize = 32;

/// Share of what parts of a rewriting do alone that the whole of it may do, by its own rounding to
/// 16 bits …
pub(crate) const OF_ROUNDED: f64 = 1e-3;

/// … and where nothing of it was rounded.
pub(crate) const OF_EXACT: f64 = 1e-8;

/// How far the shares of several causes may add up to another number than 1 for each to be called a
/// share.
pub(crate) const ADDITIVE: f64 = 0.1;

/// Share of the whole KL below which a set of tensors does not matter.
pub(crate) const MATTERS: f64 = 1e-3;

/// Radians over the longest prompt below which length hides what a rotation is off by.
pub(crate) const HIDDEN_ANGLE: f64 = 0.1;

/// Signal-to-noise ratio, dB, below which a matrix of low rank is no approximation of the original.
pub(crate) const NO_APPROXIMATION: f64 = 1.5;
