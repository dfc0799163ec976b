//! `efficientnet-lite0` against the reference tensors and its contract.

use crate::common::{encode, encoder, picture, refused};
use ccnf::prelude::*;
use ccnf::serde_json::json;
use std::path::PathBuf;

fn shared() -> PathBuf {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    std::env::var_os("CCNF_SHARED").map_or_else(default, PathBuf::from)
}

/// The reference input is `(v - 127) / 128` of 8-bit values, `[n][3][224][224]`.
fn to_image(planes: &[f32]) -> RgbImage {
    let n = planes.len() / 3;
    let data =
        (0..n).flat_map(|i| (0..3).map(move |c| (planes[c * n + i] * 128.0 + 127.0).round() as u8)).collect();
    RgbImage { width: 224, height: 224, data }
}

#[test]
fn every_level_equals_the_reference_network() {
    let path = shared().join("weights/efficientnet_lite0_reference.safetensors");
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; set CCNF_SHARED", path.display()));
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let floats = |name: &str| -> Vec<f32> {
        let (chunks, _) = file.tensor(name).unwrap().data().as_chunks::<4>();
        chunks.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    let lite0 = encoder(json!({
        "kind": "efficientnet-lite0", "levels": ["stride4", "stride8", "stride16", "stride32"], "pool": 1,
    }))
    .unwrap();
    let images: Vec<_> = floats("input").chunks(3 * 224 * 224).map(to_image).collect();
    let encoded = encode(&*lite0, &images).unwrap();
    // The weights of the last level are rounded to half precision; its values have deviation 2.3.
    let references = [
        ("stride4_block2", 1e-3),
        ("stride8_block4", 1e-3),
        ("stride16_block10", 1e-3),
        ("stride32_block15", 2e-2),
    ];
    for (l, (level, (reference, tolerance))) in lite0.levels().iter().zip(references).enumerate() {
        let expected = floats(reference);
        let cells = level.tokens();
        assert_eq!(expected.len(), images.len() * level.len());
        for (image, maps) in encoded.iter().enumerate() {
            for (i, value) in maps[l].iter().enumerate() {
                let (cell, channel) = (i / level.channels, i % level.channels);
                let want = expected[image * level.len() + channel * cells + cell];
                assert!(
                    (value - want).abs() < tolerance,
                    "{reference}, image {image}: {value} instead of {want}"
                );
            }
        }
    }
}

#[test]
fn levels_come_in_the_configured_order_and_subset() {
    let both =
        encoder(json!({ "kind": "efficientnet-lite0", "levels": ["stride16", "stride4"], "size": 64 }))
            .unwrap();
    let shapes: Vec<_> = both.levels().into_iter().map(|l| (l.name, l.height, l.width, l.channels)).collect();
    assert_eq!(shapes, [("stride16".to_owned(), 4, 4, 112), ("stride4".to_owned(), 16, 16, 24)]);
    let one = encoder(json!({ "kind": "efficientnet-lite0", "levels": ["stride4"], "size": 64 })).unwrap();
    let image = [picture(50, 70, 1)];
    assert_eq!(encode(&*both, &image).unwrap()[0][1], encode(&*one, &image).unwrap()[0][0]);
    assert_ne!(both.fingerprint(), one.fingerprint());
}

#[test]
fn scales_are_the_same_levels_with_other_pooling() {
    let of = |keys: ccnf::serde_json::Value| {
        let mut all = json!({ "kind": "efficientnet-lite0", "levels": ["stride16", "stride8"], "size": 64 });
        all.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        encoder(all).unwrap()
    };
    let both = of(json!({ "scales": [1] }));
    let names: Vec<_> = both.levels().into_iter().map(|l| (l.name, l.channels)).collect();
    let expected = [("stride16", 112), ("stride8", 40), ("stride16-pool1", 112), ("stride8-pool1", 40)];
    assert_eq!(names, expected.map(|(n, c)| (n.to_owned(), c)));
    let image = [picture(50, 70, 1)];
    let found = encode(&*both, &image).unwrap().remove(0);
    assert_eq!(found[..2], encode(&*of(json!({})), &image).unwrap()[0]);
    assert_eq!(found[2..], encode(&*of(json!({ "pool": 1 })), &image).unwrap()[0]);
}

#[test]
fn features_do_not_depend_on_the_rest_of_the_batch() {
    let lite0 = encoder(json!({ "kind": "efficientnet-lite0", "size": 64 })).unwrap();
    let images: Vec<_> = (0..5).map(|seed| picture(64 + seed, 80, seed)).collect();
    let together = encode(&*lite0, &images).unwrap();
    for (image, expected) in images.iter().zip(&together) {
        assert_eq!(&encode(&*lite0, std::slice::from_ref(image)).unwrap()[0], expected, "bitwise");
    }
    assert_eq!(encode(&*lite0, &images).unwrap(), together, "deterministic");
    assert_ne!(together[0], together[1]);
    assert!(encode(&*lite0, &[]).unwrap().is_empty());
}

#[test]
fn the_window_of_a_level_overrides_the_common_one() {
    let build = |pool: usize, own: usize| {
        let config = json!({
            "kind": "efficientnet-lite0", "size": 64, "pool": pool, "pool_levels": { "stride16": own },
        });
        encoder(config).unwrap()
    };
    let image = [picture(64, 64, 3)];
    let (mixed, raw) = (build(3, 1), build(1, 1));
    let (a, b) = (encode(&*mixed, &image).unwrap(), encode(&*raw, &image).unwrap());
    assert_eq!(a[0][1], b[0][1], "stride16 is not pooled in either");
    assert_ne!(a[0][0], b[0][0], "stride8 is pooled in one");
    assert_ne!(mixed.fingerprint(), raw.fingerprint());
}

#[test]
fn the_fingerprint_names_what_changes_features() {
    let print = |config| encoder(config).unwrap().fingerprint();
    let base = print(json!({ "kind": "efficientnet-lite0" }));
    assert_eq!(base, print(json!({ "kind": "efficientnet-lite0", "size": 224, "pool": 3 })));
    for other in [
        json!({ "kind": "efficientnet-lite0", "size": 256 }),
        json!({ "kind": "efficientnet-lite0", "pool": 1 }),
        json!({ "kind": "efficientnet-lite0", "filter": "lanczos" }),
        json!({ "kind": "efficientnet-lite0", "resize": "shorter-side-crop" }),
    ] {
        assert_ne!(base, print(other.clone()), "{other}");
    }
}

#[test]
fn wrong_keys_and_values_are_config_errors() {
    for (key, value, hint) in [
        ("size", json!(200), "multiple of 32"),
        ("size", json!(0), "multiple of 32"),
        ("pool", json!(2), "odd"),
        ("levels", json!([]), "at least one"),
        ("levels", json!(["stride8", "stride8"]), "twice"),
        ("levels", json!(["strid8"]), "stride8"),
        ("pool_levels", json!({ "stride4": 1 }), "not among"),
        ("pool_levels", json!({ "stride8": 4 }), "odd"),
        ("scales", json!([2]), "odd"),
        ("scales", json!([3]), "already"),
        ("scales", json!([1, 1]), "twice"),
        ("filter", json!("bicubic"), "lanczos"),
        ("sise", json!(224), "did you mean `size`"),
    ] {
        let mut config = json!({ "kind": "efficientnet-lite0" });
        config[key] = value;
        let message = refused(config, ErrorKind::Config);
        assert!(message.contains(&format!("encoder.{key}")) && message.contains(hint), "{message}");
    }
}

#[test]
fn an_image_that_cannot_be_opened_is_named() {
    let lite0 = encoder(json!({ "kind": "efficientnet-lite0", "size": 32 })).unwrap();
    let source = ImageSource::Generated("bolt/train/7".into());
    let open = || Err(Error::new(ErrorKind::Image, "cut short"));
    let error = lite0.encode(&[EncoderInput { source: &source, open: &open }]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Image);
    assert!(error.to_string().contains("bolt/train/7"), "{error}");
}
