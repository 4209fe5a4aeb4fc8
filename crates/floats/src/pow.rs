//! Powers in f32, as PyTorch's vectorised CPU code computes them.

/// `base ^ exponent` for positive, normal bases and moderate exponents, with the bits of SLEEF's
/// `powf` of 1 ulp.
///
/// PyTorch takes it for whole vectors. It computes `exp(exponent · ln(base))` with logarithm and
/// product as a sum of two f32 numbers, so that about one result in a hundred is not the nearest
/// f32.
///
/// ```
/// use ulpscope_floats::pow;
///
/// assert_eq!(pow(2.0, 10.0), 1024.0);
/// // Not the nearest f32, which is one step above.
/// let nearest = 1e6f64.powf(f64::from(0.578125f32)) as f32;
/// assert_eq!(pow(1e6, 0.578125).to_bits(), nearest.to_bits() - 1);
/// ```
pub fn pow(base: f32, exponent: f32) -> f32 {
    exp(ln(base).times(exponent))
}

/// A sum of two numbers, the second far smaller than the first.
#[derive(Clone, Copy)]
struct Two(f32, f32);

impl Two {
    /// `x + y`, whichever is larger.
    fn sum(x: f32, y: f32) -> Self {
        let s = x + y;
        let v = s - x;
        Two(s, (x - (s - v)) + (y - v))
    }

    /// `self + y`, whichever is larger.
    fn plus(self, y: f32) -> Self {
        let Two(s, rest) = Two::sum(self.0, y);
        Two(s, rest + self.1)
    }

    /// `self + y`, whichever is larger.
    fn plus_two(self, y: Two) -> Self {
        let Two(s, rest) = Two::sum(self.0, y.0);
        Two(s, rest + (self.1 + y.1))
    }

    /// `self + y`, where `self` is larger.
    fn plus_smaller(self, y: Two) -> Self {
        let s = self.0 + y.0;
        Two(s, self.0 - s + y.0 + self.1 + y.1)
    }

    fn times(self, y: f32) -> Self {
        let s = self.0 * y;
        Two(s, self.1.mul_add(y, self.0.mul_add(y, -s)))
    }

    fn times_two(self, y: Two) -> Self {
        let s = self.0 * y.0;
        Two(s, self.0.mul_add(y.1, self.1.mul_add(y.0, self.0.mul_add(y.0, -s))))
    }

    fn squared(self) -> Self {
        let s = self.0 * self.0;
        Two(s, (self.0 + self.0).mul_add(self.1, self.0.mul_add(self.0, -s)))
    }

    fn over(self, d: Two) -> Self {
        let t = 1.0 / d.0;
        let s = self.0 * t;
        let u = t.mul_add(self.0, -s);
        let v = (-d.1).mul_add(t, (-d.0).mul_add(t, 1.0));
        Two(s, s.mul_add(v, self.1.mul_add(t, u)))
    }

    fn normalised(self) -> Self {
        let s = self.0 + self.1;
        Two(s, self.0 - s + self.1)
    }
}

/// `ln(x)` of a positive, normal number.
fn ln(x: f32) -> Two {
    // x = m · 2^e with m from 0.75 to 1.5.
    let e = ((x * (4.0 / 3.0)).to_bits() >> 23) as i32 - 127;
    let m = x * f32::from_bits(((127 - e) as u32) << 23);
    let y = Two::sum(-1.0, m).over(Two::sum(1.0, m));
    let y2 = y.squared();
    let t = 0.240_320_35f32.mul_add(y2.0, 0.285_112_68).mul_add(y2.0, 0.400_008);
    let c = Two(0.666_666_6, 3.691_838_6e-9);
    let scale = Two(std::f32::consts::LN_2, -1.904_654_4e-9).times(e as f32);
    let first = scale.plus_smaller(Two(2.0 * y.0, 2.0 * y.1));
    first.plus_smaller(y2.times_two(y).times_two(y2.times(t).plus_two(c)))
}

/// `e^x`, rounded once at its end.
fn exp(x: Two) -> f32 {
    let q = ((x.0 + x.1) * std::f32::consts::LOG2_E).round_ties_even();
    let s = x.plus(q * -0.693_145_75).plus(q * -1.428_606_8e-6).normalised();
    let u = 0.001_363_246_5f32
        .mul_add(s.0, 0.008_365_969)
        .mul_add(s.0, 0.041_671_082)
        .mul_add(s.0, 0.166_665_52)
        .mul_add(s.0, 0.499_999_85);
    let t = Two(1.0, 0.0).plus_smaller(s.plus_smaller(s.squared().times(u)));
    (t.0 + t.1) * f32::from_bits(((127 + q as i32) as u32) << 23)
}
