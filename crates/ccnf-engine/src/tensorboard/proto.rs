//! The messages in an event file, as far as they are written here (TensorFlow, `core/util/event.proto`, `core/framework/summary.proto`,
//! `core/framework/tensor.proto`). A member of a `oneof` is an optional field here, which has the same bytes.

use prost::Message;

/// One record.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub(super) wall_time: f64,
    #[prost(int64, tag = "2")]
    pub(super) step: i64,
    #[prost(string, optional, tag = "3")]
    pub(super) file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    pub(super) summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    pub(super) session_log: Option<SessionLog>,
}

/// Says that a process starts: points from its step on, read before, are void.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SessionLog {
    #[prost(int32, tag = "1")]
    pub(super) status: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Summary {
    #[prost(message, repeated, tag = "1")]
    pub(super) value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Value {
    #[prost(string, tag = "1")]
    pub(super) tag: String,
    #[prost(float, optional, tag = "2")]
    pub(super) simple_value: Option<f32>,
    #[prost(message, optional, tag = "4")]
    pub(super) image: Option<Image>,
    #[prost(message, optional, tag = "8")]
    pub(super) tensor: Option<Tensor>,
    #[prost(message, optional, tag = "9")]
    pub(super) metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Image {
    #[prost(int32, tag = "1")]
    pub(super) height: i32,
    #[prost(int32, tag = "2")]
    pub(super) width: i32,
    /// Number of channels.
    #[prost(int32, tag = "3")]
    pub(super) colorspace: i32,
    /// A PNG file.
    #[prost(bytes = "vec", tag = "4")]
    pub(super) encoded_image_string: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Tensor {
    #[prost(int32, tag = "1")]
    pub(super) dtype: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) tensor_shape: Option<Scalar>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub(super) string_val: Vec<Vec<u8>>,
}

/// The shape of a single value.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Scalar {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metadata {
    #[prost(message, optional, tag = "1")]
    pub(super) plugin_data: Option<PluginData>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PluginData {
    #[prost(string, tag = "1")]
    pub(super) plugin_name: String,
}

const START: i32 = 1;
const DT_STRING: i32 = 7;

impl Event {
    /// The first record of a file.
    pub(super) fn head() -> Self {
        Event { file_version: Some("brain.Event:2".into()), ..Event::default() }
    }

    /// A process starts at `step`.
    pub(super) fn start(step: i64) -> Self {
        Event { step, session_log: Some(SessionLog { status: START }), ..Event::default() }
    }

    /// Values at a step.
    pub(super) fn summary(step: i64, value: Vec<Value>) -> Self {
        Event { step, summary: Some(Summary { value }), ..Event::default() }
    }
}

impl Value {
    pub(super) fn scalar(tag: String, value: f64) -> Self {
        Value { tag, simple_value: Some(value as f32), ..Value::default() }
    }

    /// Markdown for the page "Text".
    pub(super) fn text(tag: &str, markdown: String) -> Self {
        let string_val = vec![markdown.into_bytes()];
        let tensor = Tensor { dtype: DT_STRING, tensor_shape: Some(Scalar {}), string_val };
        let metadata = Metadata { plugin_data: Some(PluginData { plugin_name: "text".into() }) };
        Value { tag: tag.into(), tensor: Some(tensor), metadata: Some(metadata), ..Value::default() }
    }

    /// A PNG file; `None` if it is none.
    pub(super) fn png(tag: String, png: Vec<u8>) -> Option<Self> {
        // Signature, then the chunk IHDR: length, name, width, height, bit depth, colour type.
        let at = |i: usize| png.get(i..i + 4)?.try_into().ok().map(u32::from_be_bytes);
        if !png.starts_with(b"\x89PNG\r\n\x1a\n") {
            return None;
        }
        let (width, height) = (at(16)?.try_into().ok()?, at(20)?.try_into().ok()?);
        let colorspace = match png.get(25)? {
            0 => 1,
            4 => 2,
            6 => 4,
            _ => 3,
        };
        let image = Image { height, width, colorspace, encoded_image_string: png };
        Some(Value { tag, image: Some(image), ..Value::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_the_bytes_that_the_tensorboard_package_writes() {
        let hex = |e: Event| -> String {
            let timed = Event { wall_time: 1.5, ..e };
            timed.encode_to_vec().iter().map(|b| format!("{b:02x}")).collect()
        };
        assert_eq!(hex(Event::head()), "09000000000000f83f1a0d627261696e2e4576656e743a32");
        // A zero is written, not left out.
        let zero = Event::summary(3, vec![Value::scalar("a".into(), 0.0)]);
        assert_eq!(hex(zero), "09000000000000f83f10032a0a0a080a01611500000000");
        assert_eq!(hex(Event::start(5)), "09000000000000f83f10053a020801");
        assert_eq!(
            hex(Event::summary(0, vec![Value::text("c", "x".into())])),
            "09000000000000f83f2a180a160a01634207080712004201784a080a060a0474657874"
        );
    }

    #[test]
    fn a_picture_has_its_size_and_what_is_no_picture_is_left_out() {
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x01\0\0\0\0\x40\x08\x02".to_vec();
        let value = Value::png("a".into(), png.clone()).unwrap().image.unwrap();
        assert_eq!((value.width, value.height, value.colorspace), (256, 64, 3));
        png.truncate(22);
        assert_eq!(Value::png("a".into(), png), None);
        assert_eq!(Value::png("a".into(), b"GIF89a".to_vec()), None);
    }
}
