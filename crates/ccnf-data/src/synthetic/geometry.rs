//! Points, signed distances and colours for the renderers. The picture spans -1 … 1 on both axes, y down.

use std::ops::{Add, Mul, Sub};

/// A point or a direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct V2 {
    pub(super) x: f32,
    pub(super) y: f32,
}

/// Shorthand for a point.
pub(super) const fn v2(x: f32, y: f32) -> V2 {
    V2 { x, y }
}

/// Where the light comes from, in the plane of the picture.
pub(super) const LIGHT: V2 = v2(-0.6, -0.8);

impl V2 {
    pub(super) fn dot(self, o: V2) -> f32 {
        self.x * o.x + self.y * o.y
    }

    pub(super) fn len(self) -> f32 {
        self.dot(self).sqrt()
    }

    /// The unit vector of this direction; zero stays zero.
    pub(super) fn unit(self) -> V2 {
        self * (1.0 / self.len().max(1e-9))
    }

    pub(super) fn rotated(self, angle: f32) -> V2 {
        let (s, c) = angle.sin_cos();
        v2(self.x * c - self.y * s, self.x * s + self.y * c)
    }

    pub(super) fn angle(self) -> f32 {
        self.y.atan2(self.x)
    }

    /// The unit vector at `angle`.
    pub(super) fn polar(angle: f32) -> V2 {
        v2(angle.cos(), angle.sin())
    }
}

impl Add for V2 {
    type Output = V2;
    fn add(self, o: V2) -> V2 {
        v2(self.x + o.x, self.y + o.y)
    }
}

impl Sub for V2 {
    type Output = V2;
    fn sub(self, o: V2) -> V2 {
        v2(self.x - o.x, self.y - o.y)
    }
}

impl Mul<f32> for V2 {
    type Output = V2;
    fn mul(self, k: f32) -> V2 {
        v2(self.x * k, self.y * k)
    }
}

/// Linear red, green and blue, 0 … 1.
pub(super) type Rgb = [f32; 3];

pub(super) fn mix(a: Rgb, b: Rgb, t: f32) -> Rgb {
    std::array::from_fn(|c| a[c] + (b[c] - a[c]) * t)
}

pub(super) fn shade(a: Rgb, k: f32) -> Rgb {
    a.map(|v| v * k)
}

pub(super) fn times(a: Rgb, b: Rgb) -> Rgb {
    std::array::from_fn(|c| a[c] * b[c])
}

pub(super) fn brighten(a: Rgb, k: f32) -> Rgb {
    a.map(|v| v + k)
}

/// 0 below `low`, 1 above `high`, smooth between; reversed limits fall instead.
pub(super) fn smooth(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// The part of a pixel of side `px` that lies inside a shape at signed distance `d`: antialiasing.
pub(super) fn inside(d: f32, px: f32) -> f32 {
    (0.5 - d / px).clamp(0.0, 1.0)
}

/// Signed distance to a box of half-size `half` with corners rounded by `r`.
pub(super) fn round_box(p: V2, half: V2, r: f32) -> f32 {
    let q = v2(p.x.abs() - half.x + r, p.y.abs() - half.y + r);
    v2(q.x.max(0.0), q.y.max(0.0)).len() + q.x.max(q.y).min(0.0) - r
}

/// Signed distance to a regular hexagon with inner radius `r` and a flat side up.
pub(super) fn hexagon(p: V2, r: f32) -> f32 {
    let k = v2(-0.866_025_4, 0.5);
    let mut q = v2(p.x.abs(), p.y.abs());
    q = q - k * (2.0 * k.dot(q).min(0.0));
    q = q - v2(q.x.clamp(-0.577_350_3 * r, 0.577_350_3 * r), r);
    q.len() * q.y.signum()
}

/// Distance to the segment from `a` to `b`, and where along it (0 … 1) the nearest point is.
pub(super) fn segment(p: V2, a: V2, b: V2) -> (f32, f32) {
    let (ap, ab) = (p - a, b - a);
    let t = (ap.dot(ab) / ab.dot(ab).max(1e-12)).clamp(0.0, 1.0);
    ((ap - ab * t).len(), t)
}

/// The outward normal of a signed distance at `p`, by differences.
pub(super) fn normal(p: V2, distance: impl Fn(V2) -> f32) -> V2 {
    const H: f32 = 0.004;
    let d = distance(p);
    v2(distance(p + v2(H, 0.0)) - d, distance(p + v2(0.0, H)) - d).unit()
}

/// Where a product lies in the picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pose {
    pub(super) center: V2,
    pub(super) angle: f32,
    pub(super) scale: f32,
}

impl Pose {
    /// From the picture to the product's own coordinates.
    pub(super) fn local(&self, p: V2) -> V2 {
        (p - self.center).rotated(-self.angle) * (1.0 / self.scale)
    }

    /// From the product's own coordinates to the picture.
    pub(super) fn world(&self, q: V2) -> V2 {
        (q * self.scale).rotated(self.angle) + self.center
    }

    /// The light's direction in the product's own coordinates.
    pub(super) fn light(&self) -> V2 {
        LIGHT.rotated(-self.angle)
    }
}
