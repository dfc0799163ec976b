//! Images in a page.

use super::inline::Text;
use crate::text::without_control;
use base64::{Engine, engine::general_purpose::STANDARD};
use maud::{Markup, html};

/// A PNG or JPEG image with the text that stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    data: String,
    alt: String,
    caption: String,
}

/// Why an image cannot be used.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageError {
    /// The bytes begin neither like a PNG nor like a JPEG file.
    Format,
    /// The alternative text is blank: readers who cannot see the image would get nothing.
    NoAlt,
}

impl std::fmt::Display for ImageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ImageError::Format => "the image is neither PNG nor JPEG",
            ImageError::NoAlt => "the image has no alternative text",
        })
    }
}

impl std::error::Error for ImageError {}

impl Image {
    /// An image from the bytes of a PNG or JPEG file; `alt` says in words what it shows.
    pub fn new(bytes: &[u8], alt: impl Into<String>) -> Result<Self, ImageError> {
        let kind = match bytes {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => "png",
            [0xff, 0xd8, 0xff, ..] => "jpeg",
            _ => return Err(ImageError::Format),
        };
        let alt = alt.into();
        if alt.trim().is_empty() {
            return Err(ImageError::NoAlt);
        }
        let data = format!("data:image/{kind};base64,{}", STANDARD.encode(bytes));
        Ok(Image { data, alt, caption: String::new() })
    }

    /// A short text below the image.
    pub fn caption(mut self, caption: impl Into<String>) -> Self {
        self.caption = caption.into();
        self
    }
}

/// Images in a grid; a click or the Enter key enlarges one.
#[derive(Debug, Clone, PartialEq)]
pub struct Gallery {
    caption: Text,
    columns: Option<usize>,
    images: Vec<Image>,
}

impl Gallery {
    /// A gallery of `images`.
    pub fn new(caption: impl Into<Text>, images: impl IntoIterator<Item = Image>) -> Self {
        Gallery { caption: caption.into(), columns: None, images: images.into_iter().collect() }
    }

    /// Fixes the number of columns (input, mask and map side by side, say); otherwise as many as fit.
    pub fn columns(mut self, columns: usize) -> Self {
        self.columns = Some(columns.max(1));
        self
    }

    pub(crate) fn markup(&self) -> Markup {
        let columns = self.columns.map(|n| {
            format!("grid-template-columns:repeat({n},minmax(0,1fr));max-width:{}rem", n.saturating_mul(14))
        });
        html! {
            figure.gallery {
                @if !self.caption.is_empty() { figcaption { (self.caption.markup()) } }
                ul.images style=[columns] {
                    @for image in &self.images {
                        li {
                            // the same element shows the image small and, when open, large: no copy, no script
                            details.zoom name="zoom" {
                                summary {
                                    img src=(image.data) alt=(without_control(&image.alt));
                                    span.hidden { " (enlarge)" }
                                }
                            }
                            @if !image.caption.is_empty() { p { (without_control(&image.caption)) } }
                        }
                    }
                }
                @if self.images.is_empty() { p.empty { "No images" } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\nrest";

    #[test]
    fn images_become_data_with_their_type() {
        let html =
            Gallery::new("c", [Image::new(PNG, "a \"dent\"").unwrap().caption("score < 1")]).markup().0;
        assert!(html.contains("src=\"data:image/png;base64,iVBORw0KGgpyZXN0\""), "{html}");
        assert!(html.contains("alt=\"a &quot;dent&quot;\"") && html.contains("score &lt; 1"));
        let jpeg = Image::new(&[0xff, 0xd8, 0xff, 0xe0], "x").unwrap();
        assert!(jpeg.data.starts_with("data:image/jpeg;base64,"));
    }

    #[test]
    fn an_image_needs_a_known_format_and_a_text() {
        assert_eq!(Image::new(b"GIF89a", "x"), Err(ImageError::Format));
        assert_eq!(Image::new(&[], "x"), Err(ImageError::Format));
        assert_eq!(Image::new(PNG, "  "), Err(ImageError::NoAlt));
    }

    #[test]
    fn a_gallery_without_images_says_so() {
        assert!(Gallery::new("c", []).markup().0.contains("No images"));
    }
}
