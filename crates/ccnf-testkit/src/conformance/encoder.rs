//! Encoders, on synthetic photos called [`image_ids`]:
//!
//! * levels have names of their own and values; `encode` gives as many as they say, all finite;
//! * so do a wide and a tall image and one of a single colour;
//! * an image's features are the same bit for bit alone, in company, in another order, and from an encoder built again;
//! * the fingerprint is the same when built again, and another wherever a changed config key gives other features;
//! * an error about an image names it.
//!
//! For an encoder of stored features the caller's keys must lead to features for [`image_ids`].

use super::common::{Must, finite, same_bits};
use super::entry::Case;
use ccnf::data::synthetic::render_normal;
use ccnf::prelude::*;
use serde_json::{Map, Value};

/// The ids of the generated images that encoders are checked with.
pub fn image_ids() -> [&'static str; 3] {
    ["conformance/0", "conformance/1", "conformance/2"]
}

pub(super) fn spec() -> EncoderSpec {
    EncoderSpec {}
}

/// Encodes the images of these numbers.
fn encode(e: &dyn Encoder, numbers: &[usize]) -> Result<Vec<EncodedImage>> {
    let classes = ["bolt", "granite", "capsule"];
    let sources: Vec<_> = numbers.iter().map(|n| ImageSource::Generated(image_ids()[*n].into())).collect();
    let open: Vec<_> =
        numbers.iter().map(|n| move || render_normal(classes[*n], "train", *n, 3, 48 + 16 * n)).collect();
    let inputs: Vec<_> =
        sources.iter().zip(&open).map(|(source, open)| EncoderInput { source, open }).collect();
    e.encode(&inputs)
}

pub(super) fn check(case: &Case<dyn Encoder>) {
    let e = case.build(&spec());
    let print = e.fingerprint();
    assert!(!print.is_empty(), "{}", case.at("the fingerprint is empty"));
    levels(case, &e.levels());
    let at = case.at("features");
    let all = encode(&*e, &[0, 1, 2]).must(&at);
    assert_eq!(all.len(), 3, "{at}: answers for three images");
    for (n, image) in all.iter().enumerate() {
        has_levels(image, &*e, &format!("{at} of image {n}"));
    }
    assert!(all[0] != all[1], "{at}: two images have the same");
    let again = case.build(&spec());
    assert_eq!(again.fingerprint(), print, "{}", case.at("the fingerprint is another when built again"));
    for (who, e) in [("the same encoder", &e), ("one that is built again", &again)] {
        for numbers in [vec![0], vec![1], vec![2], vec![2, 1, 0], vec![1, 1]] {
            for (image, n) in encode(&**e, &numbers).must(&at).iter().zip(&numbers) {
                same_bits(
                    &image.concat(),
                    &all[*n].concat(),
                    &format!("{at} of image {n} among {numbers:?}, {who}"),
                );
            }
        }
    }
    assert!(e.encode(&[]).must(&at).is_empty(), "{at}: some for no image");
    assert_eq!(e.fingerprint(), print, "{}", case.at("the fingerprint changes with use"));
    assert!(e.batch() > 0, "{}", case.at("takes no image at once"));
    odd_images(case, &*e);
    errors_name_the_image(case, &*e);
    other_configs(case, &*e, &all);
}

fn levels(case: &Case<dyn Encoder>, levels: &[LevelSpec]) {
    let at = case.at("levels");
    assert!(!levels.is_empty(), "{at}: none");
    for (i, level) in levels.iter().enumerate() {
        assert!(!level.name.is_empty() && !level.is_empty(), "{at}: {level:?}");
        assert!(levels[..i].iter().all(|l| l.name != level.name), "{at}: two are called `{}`", level.name);
    }
}

/// Images of other forms than the square photos, one by one.
fn odd_images(case: &Case<dyn Encoder>, e: &dyn Encoder) {
    let pattern = |i: usize| (i * i % 251) as u8;
    let colour = |i: usize| [90, 140, 30][i % 3];
    for (what, width, height, value) in [
        ("160 pixels wide and 60 high", 160, 60, &pattern as &dyn Fn(usize) -> u8),
        ("45 pixels wide and 130 high", 45, 130, &pattern),
        ("of one colour", 64, 64, &colour),
        ("all black", 64, 64, &|_| 0),
    ] {
        let image = RgbImage { width, height, data: (0..width * height * 3).map(value).collect() };
        let at = case.at(format!("an image that is {what}"));
        let source = ImageSource::Generated(image_ids()[0].into());
        let open = || Ok(image.clone());
        let encoded = e.encode(&[EncoderInput { source: &source, open: &open }]).must(&at);
        assert_eq!(encoded.len(), 1, "{at}: answers");
        has_levels(&encoded[0], e, &at);
    }
}

/// Fails unless an image has all that the levels say, finite.
fn has_levels(image: &EncodedImage, e: &dyn Encoder, at: &str) {
    assert_eq!(image.len(), e.levels().len(), "{at}: levels");
    for (values, level) in image.iter().zip(e.levels()) {
        assert_eq!(values.len(), level.len(), "{at}: values at level `{}`", level.name);
        finite(values, &format!("{at}, level `{}`", level.name));
    }
}

fn errors_name_the_image(case: &Case<dyn Encoder>, e: &dyn Encoder) {
    let at = case.at("an image that cannot be opened");
    let source = ImageSource::Generated("conformance/missing".into());
    let fails = || Err(Error::new(ErrorKind::Image, "told to fail"));
    match e.encode(&[EncoderInput { source: &source, open: &fails }]) {
        Ok(_) => panic!("{at}: encoded"),
        Err(e) => assert!(e.to_string().contains("conformance/missing"), "{at}: not named in: {e}"),
    }
}

/// Changes one key after the other: where levels or features differ, so does the fingerprint.
fn other_configs(case: &Case<dyn Encoder>, e: &dyn Encoder, features: &[EncodedImage]) {
    let mut config = (case.entry.example)().as_object().cloned().unwrap_or_default();
    config.extend(case.keys.clone());
    let mut told_apart = 0;
    for (key, value) in variants(&config, &(case.entry.schema)()) {
        let at = case.at(format!("with {key} = {value}"));
        let Ok(other) = case.try_build(&Map::from_iter([(key, value)]), &spec()) else { continue };
        let same = other.levels() == e.levels() && encode(&*other, &[0, 1, 2]).must(&at) == features;
        if !same {
            assert_ne!(other.fingerprint(), e.fingerprint(), "{at}: other features, the same fingerprint");
            told_apart += 1;
        }
    }
    assert!(
        told_apart > 0,
        "{}",
        case.at("no other config gives other features: give it keys that can be varied")
    );
}

/// Other values for single keys: other numbers and switches, fewer list entries, the other choices of the schema.
fn variants(config: &Map<String, Value>, schema: &Value) -> Vec<(String, Value)> {
    let mut out = vec![];
    for (key, value) in config {
        let values: Vec<Value> = match value {
            Value::Bool(b) => vec![(!b).into()],
            Value::Number(n) => match n.as_u64() {
                Some(n) => vec![(n / 2).into(), (n + 2).into()],
                None => n.as_f64().map(|v| v * 0.5 + 0.1).into_iter().map(Value::from).collect(),
            },
            Value::Array(a) if a.len() > 1 && a.iter().all(Value::is_string) => vec![a[1..].to_vec().into()],
            Value::Array(a) if a.iter().all(Value::is_number) => vec![vec![0.4; a.len()].into()],
            Value::String(s) => {
                choices(schema, key).into_iter().filter(|c| c != s).map(Value::from).collect()
            }
            _ => vec![],
        };
        out.extend(values.into_iter().map(|v| (key.clone(), v)));
    }
    out
}

/// The strings that the schema allows for a key whose type is an enumeration.
fn choices(schema: &Value, key: &str) -> Vec<String> {
    let property = &schema["properties"][key];
    let reference = property["$ref"].as_str().and_then(|r| r.strip_prefix('#'));
    let kind = reference.and_then(|r| schema.pointer(r)).unwrap_or(property);
    let listed = kind["enum"].as_array().into_iter().flatten().cloned();
    let described = kind["oneOf"].as_array().into_iter().flatten().map(|c| c["const"].clone());
    listed.chain(described).filter_map(|v| v.as_str().map(str::to_owned)).collect()
}
