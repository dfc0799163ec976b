//! A finished drawing, and how it is embedded.

use crate::text;
use crate::theme;
use maud::{Markup, PreEscaped, Render, html};

/// Font size of axis titles, labels and legends, in user units (pixels at full size).
pub(crate) const FONT: f64 = 13.0;
/// Font size of tick labels and notes.
pub(crate) const SMALL: f64 = 12.0;
/// Natural width of the charts that do not grow with their data.
pub(crate) const WIDTH: f64 = 580.0;

const FAMILY: &str =
    "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', 'DejaVu Sans', sans-serif";

/// A drawing with a title and a description, as text.
#[derive(Debug, Clone, PartialEq)]
pub struct Svg {
    width: f64,
    height: f64,
    title: String,
    description: String,
    body: String,
}

impl Svg {
    pub(crate) fn new(title: &str, description: &str, width: f64, height: f64, body: &Markup) -> Self {
        Svg {
            width: width.ceil(),
            height: height.ceil(),
            title: text::one_line(title),
            description: text::one_line(description),
            body: text::without_control(&body.0),
        }
    }

    /// A drawing that says that there is nothing to draw, and why.
    pub(crate) fn empty(title: &str, reason: &str) -> Self {
        let ink = theme::plain("muted");
        let lines = text::wrap(reason, FONT, WIDTH - 80.0);
        let height = 90.0 + 18.0 * lines.len() as f64;
        let body = html! {
            rect x="1" y="1" width=(px(WIDTH - 2.0)) height=(px(height - 2.0)) rx="4" fill="none"
                stroke=(theme::plain("line").light) style=(theme::plain("line").css("stroke")) stroke-dasharray="5 4" {}
            (painted(&ink, html! {
                text x=(px(WIDTH / 2.0)) y="46" text-anchor="middle" font-weight="600" font-size="15" { "No data" }
                @for (i, line) in lines.iter().enumerate() {
                    text x=(px(WIDTH / 2.0)) y=(px(70.0 + 18.0 * i as f64)) text-anchor="middle" { (line) }
                }
            }))
        };
        Svg::new(title, &format!("No data: {reason}."), WIDTH, height, &body)
    }

    /// The title: what the chart shows.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The natural width in pixels.
    pub fn width(&self) -> f64 {
        self.width
    }

    /// The natural height in pixels.
    pub fn height(&self) -> f64 {
        self.height
    }

    /// The drawing as an `<svg>` element for a page: it shrinks with the page, down to where its text stays readable.
    pub fn inline(&self) -> String {
        self.markup().into_string()
    }

    pub(crate) fn markup(&self) -> Markup {
        // At 0.78 of the natural size the tick labels are 9.4 pixels high; below that the figure scrolls instead.
        let [least, most] = [0.78, 1.15].map(|factor| (self.width * factor).round());
        let style = format!("width:100%;max-width:{most}px;min-width:{least}px");
        html! {
            svg.chart viewBox={ "0 0 " (px(self.width)) " " (px(self.height)) } role="img" font-family=(FAMILY)
                font-size=(px(FONT)) style=(style)
            {
                title { (self.title) }
                desc { (self.description) }
                (PreEscaped(&self.body))
            }
        }
    }

    /// The drawing as a file of its own: with its title, its colours for light and dark, and a ground.
    pub fn standalone(&self) -> String {
        let lines = text::wrap(&self.title, 16.0, self.width - 24.0);
        let head = 22.0 * lines.len() as f64 + 12.0;
        let (surface, ink) = (theme::plain("surface"), theme::plain("ink"));
        let inner = html! {
            rect x="-8" y=(px(-head)) width=(px(self.width + 16.0)) height=(px(self.height + head + 8.0))
                fill=(surface.light) style=(surface.css("fill")) {}
            (painted(&ink, html! {
                @for (i, line) in lines.iter().enumerate() {
                    text x="0" y=(px(22.0 * (i as f64 + 1.0) - head)) font-size="16" font-weight="600" { (line) }
                }
            }))
            (PreEscaped(&self.body))
        };
        let css = theme::svg_css(&inner.0);
        let drawing = html! {
            svg xmlns="http://www.w3.org/2000/svg"
                viewBox={ "-8 " (px(-head)) " " (px(self.width + 16.0)) " " (px(self.height + head + 8.0)) }
                width=(px(self.width + 16.0)) height=(px(self.height + head + 8.0)) role="img" font-family=(FAMILY)
                font-size=(px(FONT))
            {
                title { (self.title) }
                desc { (self.description) }
                style { (PreEscaped(css)) }
                (inner)
            }
        };
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n", drawing.0)
    }
}

/// `body` in a colour: what it draws with `currentColor`, and its fills unless they say otherwise.
pub(crate) fn painted(paint: &theme::Paint, body: Markup) -> Markup {
    html! { g color=(paint.light) fill="currentColor" style=(paint.css("color")) { (body) } }
}

/// Text with a rim in the colour of the ground, so that lines under it do not cross it.
pub(crate) fn haloed(text: Markup) -> Markup {
    let ground = theme::plain("surface");
    html! {
        g stroke=(ground.light) style=(ground.css("stroke")) stroke-width="3" stroke-linejoin="round" paint-order="stroke" { (text) }
    }
}

/// A text that is cut to `room`; the tooltip has all of it.
pub(crate) fn cut_text(full: &str, size: f64, room: f64) -> Markup {
    let full = text::one_line(full);
    let shown = text::fit(&full, size, room);
    html! { @if shown != full { title { (full) } } (shown) }
}

/// A coordinate, rounded to a hundredth.
pub(crate) fn px(value: f64) -> Px {
    Px(value)
}

/// See [`px`].
#[derive(Clone, Copy)]
pub(crate) struct Px(f64);

impl std::fmt::Display for Px {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // adding 0 turns -0 into 0
        write!(f, "{}", (self.0 * 100.0).round() / 100.0 + 0.0)
    }
}

impl Render for Px {
    fn render_to(&self, buffer: &mut String) {
        buffer.push_str(&self.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawing() -> Svg {
        let body = painted(&theme::series(1), html! { circle cx="5" cy="5" r="2" {} });
        Svg::new("A <title> & \u{1b}more", "described", 100.0, 50.0, &body)
    }

    #[test]
    fn a_drawing_in_a_page_has_a_name_and_a_box() {
        let svg = drawing().inline();
        assert!(svg.contains("<title>A &lt;title&gt; &amp; more</title><desc>described</desc>"), "{svg}");
        assert!(svg.contains("viewBox=\"0 0 100 50\"") && svg.contains("role=\"img\""));
    }

    #[test]
    fn a_stand_alone_file_has_a_namespace_and_both_themes() {
        let svg = drawing().standalone();
        assert!(svg.starts_with(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\""
        ));
        assert!(svg.contains("@media (prefers-color-scheme:dark)") && svg.contains("--s1:"));
        assert!(
            svg.contains("color=\"#c1450c\""),
            "renderers without custom properties need the colour itself"
        );
    }

    #[test]
    fn coordinates_are_short() {
        assert_eq!(
            [px(1.0), px(0.126), px(-0.001), px(12.5)].map(|p| p.to_string()),
            ["1", "0.13", "0", "12.5"]
        );
    }
}
