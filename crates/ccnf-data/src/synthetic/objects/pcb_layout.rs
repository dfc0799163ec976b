//! What lies where on the circuit board: the same for every specimen.

use crate::synthetic::geometry::{V2, v2};

/// A two-terminal part: place, quarter turns, and whether it is a tan capacitor (or a black resistor).
pub(super) struct Part {
    pub(super) at: V2,
    pub(super) upright: bool,
    pub(super) capacitor: bool,
}

const fn part(x: f32, y: f32, upright: bool, capacitor: bool) -> Part {
    Part { at: v2(x, y), upright, capacitor }
}

/// The two-terminal parts.
pub(super) const PARTS: [Part; 8] = [
    part(0.62, -0.72, false, true),
    part(0.62, -0.48, false, false),
    part(0.62, -0.24, false, false),
    part(-0.72, 0.60, true, true),
    part(-0.48, 0.60, true, false),
    part(-0.24, 0.60, true, false),
    part(0.02, 0.60, true, true),
    part(0.78, 0.08, true, false),
];

/// Half the size of a part's body, lying.
pub(super) const PART_HALF: V2 = v2(0.125, 0.062);

/// The chip: its middle and half its side, with pins on all four sides.
pub(super) const CHIP: V2 = v2(-0.22, -0.22);
/// Half the chip's side.
pub(super) const CHIP_HALF: f32 = 0.34;
/// How far the pins stand out.
pub(super) const PIN: f32 = 0.085;
/// Distance of neighbouring pins.
pub(super) const PITCH: f32 = 0.105;
/// Pins on a side.
pub(super) const PINS: i32 = 6;

/// The round capacitor: middle and radius.
pub(super) const CAN: (V2, f32) = (v2(0.52, 0.55), 0.22);

/// Copper traces under the mask, as pairs of points.
pub(super) const TRACES: [[V2; 2]; 20] = [
    [v2(0.14, -0.48), v2(0.48, -0.48)],
    [v2(0.14, -0.38), v2(0.30, -0.38)],
    [v2(0.30, -0.38), v2(0.44, -0.24)],
    [v2(0.14, -0.27), v2(0.24, -0.27)],
    [v2(0.24, -0.27), v2(0.60, 0.09)],
    [v2(0.60, 0.09), v2(0.70, 0.09)],
    [v2(0.14, -0.17), v2(0.20, -0.17)],
    [v2(0.20, -0.17), v2(0.44, 0.07)],
    [v2(0.44, 0.07), v2(0.44, 0.34)],
    [v2(-0.48, 0.14), v2(-0.72, 0.38)],
    [v2(-0.72, 0.38), v2(-0.72, 0.46)],
    [v2(-0.38, 0.14), v2(-0.48, 0.30)],
    [v2(-0.48, 0.30), v2(-0.48, 0.46)],
    [v2(-0.27, 0.14), v2(-0.24, 0.46)],
    [v2(-0.06, 0.14), v2(0.02, 0.30)],
    [v2(0.02, 0.30), v2(0.02, 0.46)],
    [v2(-0.48, -0.58), v2(-0.48, -0.86)],
    [v2(-0.48, -0.86), v2(0.48, -0.86)],
    [v2(0.48, -0.86), v2(0.56, -0.78)],
    [v2(-0.72, 0.80), v2(0.30, 0.80)],
];

/// Plated holes.
pub(super) const VIAS: [V2; 7] = [
    v2(0.36, -0.10),
    v2(-0.86, 0.20),
    v2(-0.60, 0.26),
    v2(0.20, 0.22),
    v2(0.24, 0.40),
    v2(0.88, -0.60),
    v2(-0.10, -0.74),
];

/// The mounting hole.
pub(super) const MOUNT: V2 = v2(-0.80, -0.80);
