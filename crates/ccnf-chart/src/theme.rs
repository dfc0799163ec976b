//! The colours, light and dark: one table from which the page's and the stand-alone charts' CSS is made.
//!
//! Text reaches a contrast of 4.5:1 on both grounds and marks 3:1 (WCAG 2.2, 1.4.3 and 1.4.11). The series colours
//! stay apart under simulated protanopia, deuteranopia and tritanopia (tested below); dashes and markers differ too.

/// Number of series colours before they repeat (with another dash and marker).
pub(crate) const SERIES: usize = 8;
/// Steps of a colour scale; odd, so that a diverging scale has a neutral middle.
pub(crate) const STEPS: usize = 33;

/// A named colour of both themes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paint {
    /// The CSS custom property without its `--`.
    pub(crate) name: String,
    /// The colour on a light ground, `#rrggbb`; also what renderers without custom properties show.
    pub(crate) light: String,
    /// The colour on a dark ground.
    pub(crate) dark: String,
}

impl Paint {
    fn new(name: impl Into<String>, light: impl Into<String>, dark: impl Into<String>) -> Self {
        Paint { name: name.into(), light: light.into(), dark: dark.into() }
    }

    /// `property:var(--name,#light)`.
    pub(crate) fn css(&self, property: &str) -> String {
        format!("{property}:var(--{},{})", self.name, self.light)
    }
}

/// Name, light, dark.
const PLAIN: [(&str, &str, &str); 12] = [
    ("surface", "#ffffff", "#14171b"),
    ("panel", "#f5f6f8", "#1c2026"),
    ("ink", "#1a1f26", "#e3e7ec"),
    ("muted", "#545d68", "#a3adb8"),
    ("line", "#d5dae0", "#363d46"),
    ("grid", "#e7eaee", "#272d34"),
    ("axis", "#858d97", "#737d89"),
    ("accent", "#0b5c9e", "#7fbcf5"),
    ("best", "#e9f2ea", "#1c3324"),
    ("warn", "#fdf4e0", "#33290f"),
    ("warn-line", "#b37a00", "#c79433"),
    ("void", "#eceef1", "#23282f"),
];

const SERIES_COLOURS: [(&str, &str); SERIES] = [
    ("#33599a", "#4477d8"),
    ("#c1450c", "#e0601a"),
    ("#008b6c", "#45bc86"),
    ("#8e2255", "#e08ae8"),
    ("#bb8c0e", "#f1d04f"),
    ("#22262b", "#f4f4ec"),
    ("#1295f5", "#90ddff"),
    ("#8c70b7", "#97788f"),
];

/// Low to high on a light ground, then on a dark one, where low is near the ground as well.
const SEQUENTIAL: [[u32; 6]; 2] = [
    [0xf3f7fb, 0xcfe1f1, 0x93c0e2, 0x4a93cb, 0x1a619f, 0x0a2f5c],
    [0x1b242e, 0x1d3f60, 0x236398, 0x3b8dca, 0x82bdea, 0xe2f0fc],
];

/// Blue, neutral, orange.
const DIVERGING: [[u32; 7]; 2] = [
    [0x0d3f78, 0x3f85c0, 0xa9cde8, 0xf4f4f2, 0xf6c9a0, 0xd9762b, 0x8a3206],
    [0xa6d4fb, 0x4f94d0, 0x224f7c, 0x23282e, 0x70401a, 0xc97a3c, 0xfbcb9c],
];

/// The colour called `name`; unknown names are a mistake in this crate and show as ink.
pub(crate) fn plain(name: &str) -> Paint {
    let (name, light, dark) = PLAIN.iter().find(|p| p.0 == name).unwrap_or(&PLAIN[2]);
    Paint::new(*name, *light, *dark)
}

/// The colour of the series at `index`.
pub(crate) fn series(index: usize) -> Paint {
    let i = index % SERIES;
    Paint::new(format!("s{i}"), SERIES_COLOURS[i].0, SERIES_COLOURS[i].1)
}

/// A colour scale of [`STEPS`] steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ramp {
    Sequential,
    Diverging,
}

impl Ramp {
    /// The step for `t` in 0..=1; values outside are clamped.
    pub(crate) fn step(t: f64) -> usize {
        (t.clamp(0.0, 1.0) * (STEPS - 1) as f64).round() as usize
    }

    /// The ground and the text colour of a cell at `step`.
    pub(crate) fn paint(self, step: usize) -> (Paint, Paint) {
        let t = step.min(STEPS - 1) as f64 / (STEPS - 1) as f64;
        let (prefix, stops): (_, [&[u32]; 2]) = match self {
            Ramp::Sequential => ('q', [&SEQUENTIAL[0], &SEQUENTIAL[1]]),
            Ramp::Diverging => ('d', [&DIVERGING[0], &DIVERGING[1]]),
        };
        let [light, dark] = stops.map(|s| between(s, t));
        let text = |ground: [u8; 3]| {
            let white = contrast(ground, [255; 3]);
            if white >= contrast(ground, [0; 3]) { "#ffffff" } else { "#000000" }
        };
        (
            Paint::new(format!("{prefix}{step}"), hex(light), hex(dark)),
            Paint::new(format!("{prefix}{step}t"), text(light), text(dark)),
        )
    }
}

fn channels(colour: u32) -> [u8; 3] {
    let [_, r, g, b] = colour.to_be_bytes();
    [r, g, b]
}

fn between(stops: &[u32], t: f64) -> [u8; 3] {
    let x = t * (stops.len() - 1) as f64;
    let i = (x.floor() as usize).min(stops.len() - 2);
    let (a, b, f) = (channels(stops[i]), channels(stops[i + 1]), x - i as f64);
    std::array::from_fn(|k| (f64::from(a[k]) * (1.0 - f) + f64::from(b[k]) * f).round() as u8)
}

fn hex([r, g, b]: [u8; 3]) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// A channel of sRGB without its transfer curve.
fn linear(channel: u8) -> f64 {
    let c = f64::from(channel) / 255.0;
    if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
}

/// The contrast ratio of two colours (WCAG 2.2, "contrast ratio"): (L₁ + 0.05) / (L₂ + 0.05), with the relative
/// luminance L = 0.2126 R + 0.7152 G + 0.0722 B of linear channels.
fn contrast(a: [u8; 3], b: [u8; 3]) -> f64 {
    let luminance = |c: [u8; 3]| 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

/// Every colour there is.
fn all() -> Vec<Paint> {
    let ramps = [Ramp::Sequential, Ramp::Diverging];
    let cells = ramps.into_iter().flat_map(|r| (0..STEPS).map(move |s| r.paint(s)));
    let plain = PLAIN.iter().map(|(n, light, dark)| Paint::new(*n, *light, *dark));
    plain.chain((0..SERIES).map(series)).chain(cells.flat_map(|(ground, text)| [ground, text])).collect()
}

fn declarations(paints: &[Paint], colour: fn(&Paint) -> &str) -> String {
    paints.iter().map(|p| format!("--{}:{};", p.name, colour(p))).collect()
}

/// The colours that `used` (the page's body and style sheet) names, for a page whose root may carry
/// `data-theme="light"` or `"dark"`; paper is always light.
pub(crate) fn page_css(used: &str) -> String {
    let paints = used_paints(used);
    let light = declarations(&paints, |p| &p.light);
    let dark = declarations(&paints, |p| &p.dark);
    format!(
        ":root{{color-scheme:light;{light}}}\n\
         @media screen and (prefers-color-scheme:dark){{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}\n\
         @media screen{{:root[data-theme=dark]{{color-scheme:dark;{dark}}}}}\n"
    )
}

/// The colours that a stand-alone chart with this body uses.
pub(crate) fn svg_css(body: &str) -> String {
    let paints = used_paints(body);
    let light = declarations(&paints, |p| &p.light);
    let dark = declarations(&paints, |p| &p.dark);
    format!("svg{{{light}}}@media (prefers-color-scheme:dark){{svg{{{dark}}}}}")
}

fn used_paints(body: &str) -> Vec<Paint> {
    let names: std::collections::BTreeSet<&str> = body
        .split("var(--")
        .skip(1)
        .map(|rest| rest.split([',', ')', ' ']).next().unwrap_or_default())
        .collect();
    all().into_iter().filter(|p| names.contains(p.name.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(hex: &str) -> [u8; 3] {
        channels(u32::from_str_radix(&hex[1..], 16).unwrap())
    }

    fn grounds(name: &str) -> [[u8; 3]; 2] {
        let p = plain(name);
        [parse(&p.light), parse(&p.dark)]
    }

    #[test]
    fn text_is_readable_on_every_ground() {
        for text in ["ink", "muted", "accent"] {
            for ground in ["surface", "panel", "best", "warn", "void"] {
                for (t, g) in grounds(text).into_iter().zip(grounds(ground)) {
                    let c = contrast(t, g);
                    assert!(c >= 4.5, "{text} on {ground}: {c:.2}");
                }
            }
        }
    }

    #[test]
    fn the_text_of_every_heat_map_cell_is_readable() {
        for ramp in [Ramp::Sequential, Ramp::Diverging] {
            for step in 0..STEPS {
                let (ground, text) = ramp.paint(step);
                for (g, t) in [(&ground.light, &text.light), (&ground.dark, &text.dark)] {
                    assert!(contrast(parse(g), parse(t)) >= 4.5, "{ramp:?} {step}: {t} on {g}");
                }
            }
        }
    }

    #[test]
    fn a_sequential_scale_rises_evenly_away_from_the_ground() {
        for (theme, sign) in [(0, 1.0), (1, -1.0)] {
            let lightness: Vec<f64> = (0..STEPS)
                .map(|s| {
                    let p = Ramp::Sequential.paint(s).0;
                    oklab(parse(if theme == 0 { &p.light } else { &p.dark }).map(linear))[0] * sign
                })
                .collect();
            assert!(lightness.windows(2).all(|w| w[0] - w[1] > 0.005), "{lightness:?}");
        }
    }

    /// Björn Ottosson, "A perceptual color space for image processing", 2020.
    fn oklab(c: [f64; 3]) -> [f64; 3] {
        let dot = |m: [f64; 3], v: [f64; 3]| m[0] * v[0] + m[1] * v[1] + m[2] * v[2];
        let cones = [
            dot([0.4122214708, 0.5363325363, 0.0514459929], c),
            dot([0.2119034982, 0.6806995451, 0.1073969566], c),
            dot([0.0883024619, 0.2817188376, 0.6299787005], c),
        ]
        .map(f64::cbrt);
        [
            dot([0.2104542553, 0.793617785, -0.0040720468], cones),
            dot([1.9779984951, -2.428592205, 0.4505937099], cones),
            dot([0.0259040371, 0.7827717662, -0.808675766], cones),
        ]
    }

    #[test]
    fn series_colours_stay_apart_for_every_kind_of_sight() {
        // Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision
        // deficiency", 2009: severity 1.0.
        let sights = [
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            [
                [0.152286, 1.052583, -0.204868],
                [0.114503, 0.786281, 0.099216],
                [-0.003882, -0.048116, 1.051998],
            ],
            [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
            [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
        ];
        for dark in [false, true] {
            for sight in sights {
                let seen: Vec<[f64; 3]> = (0..SERIES)
                    .map(|i| {
                        let p = series(i);
                        let c = parse(if dark { &p.dark } else { &p.light }).map(linear);
                        oklab(sight.map(|m| (m[0] * c[0] + m[1] * c[1] + m[2] * c[2]).clamp(0.0, 1.0)))
                    })
                    .collect();
                for i in 0..SERIES {
                    for j in 0..i {
                        let d: f64 = (0..3).map(|k| (seen[i][k] - seen[j][k]).powi(2)).sum::<f64>().sqrt();
                        assert!(d > 0.08, "series {i} and {j} (dark: {dark}): {d:.3}");
                    }
                }
            }
        }
    }

    #[test]
    fn series_colours_stand_out_from_the_ground() {
        for i in 0..SERIES {
            let (p, g) = (series(i), grounds("surface"));
            assert!(contrast(parse(&p.light), g[0]) >= 3.0 && contrast(parse(&p.dark), g[1]) >= 3.0, "{i}");
        }
    }

    #[test]
    fn only_the_used_colours_are_declared() {
        let css = svg_css(r#"<g style="color:var(--s1,#c1450c)">"#);
        assert!(
            css.contains("--s1:#c1450c;") && css.contains("--s1:#e0601a;") && !css.contains("--s2"),
            "{css}"
        );
    }
}
