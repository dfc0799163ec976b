//! `pyramid`: the same network at several scales.

use crate::common::{encode, encoder, picture, refused};
use ccnf::core::{Config, build};
use ccnf::prelude::*;
use ccnf::serde_json::{Value, json};

fn at(size: usize) -> Value {
    json!({ "kind": "efficientnet-lite0", "size": size, "levels": ["stride16"] })
}

#[test]
fn every_level_is_the_network_at_that_size() {
    let pyramid = encoder(json!({ "kind": "pyramid", "encoder": at(128) })).unwrap();
    let names: Vec<_> =
        pyramid.levels().into_iter().map(|l| (l.name, l.height, l.width, l.channels)).collect();
    let expected = [("stride16@128", 8), ("stride16@64", 4), ("stride16@32", 2)];
    assert_eq!(names, expected.map(|(name, side)| (name.to_owned(), side, side, 112)));
    let images = [picture(150, 130, 1), picture(90, 90, 2)];
    let encoded = encode(&*pyramid, &images).unwrap();
    for (level, size) in [128, 64, 32].into_iter().enumerate() {
        let alone = encode(&*encoder(at(size)).unwrap(), &images).unwrap();
        (0..images.len()).for_each(|i| assert_eq!(encoded[i][level], alone[i][0], "bitwise, size {size}"));
    }
    let fewer = encoder(json!({ "kind": "pyramid", "encoder": at(128), "scales": 2 })).unwrap();
    assert_ne!(fewer.fingerprint(), pyramid.fingerprint());
}

#[test]
fn the_resolved_config_builds_the_same_pyramid_again() {
    let config =
        Config::from_json("test", &json!({ "e": { "kind": "pyramid", "encoder": at(64), "scales": 2 } }))
            .unwrap();
    let first = build::<dyn Encoder>(&config.root().unwrap().child("e"), &EncoderSpec {}).unwrap();
    let resolved = config.resolved_json();
    assert_eq!(resolved["e"]["encoder"]["size"], 64);
    assert_eq!(encoder(resolved["e"].clone()).unwrap().fingerprint(), first.fingerprint());
}

#[test]
fn impossible_pyramids_are_refused_with_the_key() {
    let said = |config| refused(config, ErrorKind::Config);
    let e = said(json!({ "kind": "pyramid", "encoder": { "kind": "features", "path": "nowhere" } }));
    assert!(e.contains("`features` has no key `size`") && e.contains("encoder.encoder.kind"), "{e}");
    let e = said(json!({ "kind": "pyramid", "encoder": at(96) }));
    assert!(e.contains("multiple of 32") && e.contains("at the scale of 24 pixels"), "{e}");
    let e = said(json!({ "kind": "pyramid", "encoder": at(98), "scales": 3 }));
    assert!(e.contains("3 scales need a multiple of 4"), "{e}");
    assert!(said(json!({ "kind": "pyramid", "scales": 0 })).contains("encoder.scales"));
}
