//! Every component of the bundle through the conformance suite, one kind per test, and the list of what the bundle has.

use ccnf::core::{entries, list_all};
use ccnf::data::synthetic::{SyntheticSpec, write_mvtec};
use ccnf::prelude::Encoder;
use ccnf_testkit::conformance::{self, Extra};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

use ccnf_bundle as _;

#[test]
fn the_bundle_registers_these_components_and_no_others() {
    let expected: [(&str, &[&str]); 10] = [
        ("dataset", &["btad", "folder", "mvtec", "synthetic", "visa"]),
        ("encoder", &["efficientnet-lite0", "features", "onnx", "pyramid"]),
        ("detector", &["ccnf", "hgad", "image-density", "iuf", "mahalanobis", "patch-memory"]),
        ("layer", &["factor", "whitening"]),
        ("coupling", &["additive", "affine", "all-in-one", "linear", "spline"]),
        ("conditioner", &["embedding", "film", "prototype"]),
        ("regularizer", &["balance", "entropy", "latent-variance", "log-det", "mutual-information", "scale"]),
        ("scorer", &["likelihood", "likelihood-entropy"]),
        ("router", &["given", "likelihood", "prototype"]),
        ("strategy", &["ewc", "fine-tune", "freeze-expand", "joint", "lwf", "replay", "si"]),
    ];
    let expected: Vec<_> =
        expected.iter().flat_map(|(kind, names)| names.iter().map(move |name| (*kind, *name))).collect();
    let registered: Vec<_> = list_all().iter().map(|c| (c.kind, c.name)).collect();
    assert_eq!(registered, expected);
}

#[test]
fn couplings_conform() {
    conformance::couplings(&Extra::default());
}

#[test]
fn couplings_conform_under_other_configs() {
    let literal = json!({ "spectral_norm": "literal", "last_layer": "uniform", "output_gain": 0.3 });
    let plain = json!({ "spectral_norm": "off", "layers": 1, "hidden": 9 });
    let context = json!({ "context": "depthwise", "layers": 2, "hidden": 6 });
    for subnet in [literal, plain, context] {
        let extra = Extra::default()
            .with("coupling", "affine", json!({ "clamp": 1.9, "warmup_steps": 0, "subnet": subnet }))
            .with("coupling", "additive", json!({ "subnet": subnet }))
            .with("coupling", "spline", json!({ "bins": 2, "bound": 2.5, "subnet": subnet }));
        conformance::couplings(&extra);
    }
    for (name, private, adapter_norm) in
        [("affine", "low-rank", 0.5), ("additive", "low-rank", 0.0), ("affine", "copy", 0.5)]
    {
        let subnet = json!({ "private": private, "rank": 2, "adapter_norm": adapter_norm, "hidden": 8 });
        conformance::coupling(name, &Extra::default().with("coupling", name, json!({ "subnet": subnet })));
    }
    let current = json!({ "clamp": "current", "alpha": 0.6, "hidden": 9, "layers": 2 });
    conformance::coupling("all-in-one", &Extra::default().with("coupling", "all-in-one", current));
}

#[test]
fn layers_conform() {
    conformance::layers(&Extra::default());
    for mode in ["pooled", "position-mean", "per-position"] {
        let keys = json!({ "mode": mode, "prior": 4.0, "smooth": false });
        conformance::layer("whitening", &Extra::default().with("layer", "whitening", keys));
    }
    for keys in [json!({ "block": 1, "rank": 3 }), json!({ "block": 9, "folds": 20 })] {
        conformance::layer("factor", &Extra::default().with("layer", "factor", keys));
    }
}

#[test]
fn conditioners_conform() {
    conformance::conditioners(&Extra::default());
    conformance::conditioner(
        "film",
        &Extra::default().with("conditioner", "film", json!({ "width": 5, "before_activation": true })),
    );
    for (name, keys) in [
        ("film", json!({ "width": 5, "free_codes": true })),
        ("prototype", json!({ "width": 3, "hidden": 4 })),
    ] {
        conformance::conditioner(name, &Extra::default().with("conditioner", name, keys));
    }
}

#[test]
fn regularizers_conform() {
    conformance::regularizers(&Extra::default());
    for (name, keys) in [
        ("balance", json!({ "signed": true })),
        ("latent-variance", json!({ "global": true })),
        ("mutual-information", json!({ "hard": true, "margin": 2.0 })),
        ("entropy", json!({ "tau": 0.7 })),
    ] {
        conformance::regularizer(name, &Extra::default().with("regularizer", name, keys));
    }
}

#[test]
fn scorers_conform() {
    conformance::scorers(&Extra::default());
    for keys in
        [json!({ "tau": "auto" }), json!({ "classes": "fixed-set", "tau": 3.0 }), json!({ "lambda": 0.0 })]
    {
        conformance::scorer(
            "likelihood-entropy",
            &Extra::default().with("scorer", "likelihood-entropy", keys),
        );
    }
}

#[test]
fn routers_conform() {
    conformance::routers(&Extra::default());
    for top in [1, 2, 9] {
        let keys = json!({ "top": top, "shortlist": { "kind": "prototype" } });
        conformance::router("likelihood", &Extra::default().with("router", "likelihood", keys));
    }
}

#[test]
fn strategies_conform() {
    conformance::strategies(&Extra::default());
}

#[test]
fn the_default_ccnf_detector_conforms() {
    conformance::detector("ccnf", &Extra::default().with("detector", "ccnf", json!({ "blocks": 3 })));
}

#[test]
fn ccnf_detectors_of_other_parts_conform() {
    let film = json!({
        "blocks": 2, "position": 8, "mixing": "permutation", "init": "weighted",
        "coupling": { "kind": "affine", "subnet": { "spectral_norm": "literal", "last_layer": "uniform", "output_gain": 0.1 } },
        "conditioner": { "kind": "film", "width": 6 },
        "regularizers": [{ "kind": "mutual-information", "hard": true }, { "kind": "entropy" }],
        "scorer": { "kind": "likelihood-entropy", "tau": "auto", "classes": "fixed-set" },
        "router": { "kind": "likelihood", "top": 2, "shortlist": { "kind": "prototype" } },
    });
    let additive = json!({
        "blocks": 2, "position": 0, "init": "random",
        "coupling": { "kind": "additive" },
        "conditioner": { "kind": "embedding", "width": 4 },
        "regularizers": [],
        "scorer": { "kind": "likelihood-entropy" },
        "router": { "kind": "given" },
    });
    let all_in_one =
        json!({ "blocks": 2, "position": 8, "mixing": "none", "coupling": { "kind": "all-in-one" } });
    let spline = json!({ "blocks": 2, "position": 8, "coupling": { "kind": "spline" } });
    let linear = json!({ "blocks": 1, "position": 8, "mixing": "none", "coupling": { "kind": "linear" } });
    let context = json!({
        "blocks": 2, "position": 8,
        "coupling": { "kind": "affine", "subnet": { "context": "depthwise" } },
        "conditioner": { "kind": "film", "width": 6 },
        "regularizers": [{ "kind": "mutual-information", "hard": true }, { "kind": "latent-variance" }],
    });
    let haar = json!({ "blocks": 2, "haar": [1], "position": 8, "coupling": { "kind": "affine" } });
    for keys in [film, additive, all_in_one, spline, linear, context, haar] {
        conformance::detector("ccnf", &Extra::default().with("detector", "ccnf", keys));
    }
}

#[test]
fn patch_memory_detectors_conform() {
    for keys in [
        json!({ "patches": 20 }),
        json!({ "patches": 15, "coreset": "random", "neighbours": 3, "router": { "kind": "likelihood" } }),
        json!({ "patches": 30, "candidates": 0 }),
    ] {
        conformance::detector("patch-memory", &Extra::default().with("detector", "patch-memory", keys));
    }
}

#[test]
fn hgad_detectors_conform() {
    // The suite's teacher has the weight 100; at the released weight 100 the mutual information, which is not per dimension, drowns it.
    let small = json!({ "blocks": 2, "position": 8, "intra": 3, "information_weight": 0.0 });
    let official = json!({
        "blocks": 2, "position": 0, "intra": 2, "centres": "official", "centre_classes": 5, "information_weight": 0.0,
        "router": { "kind": "likelihood", "top": 2, "shortlist": { "kind": "prototype" } },
    });
    for keys in [small, official] {
        conformance::detector("hgad", &Extra::default().with("detector", "hgad", keys));
    }
}

#[test]
fn iuf_detectors_conform() {
    let discriminator = json!({ "heads": 2, "hidden": 6 });
    let small = json!({ "width": 8, "heads": 2, "hidden": 12, "layers": 2, "discriminator": discriminator });
    let other = json!({
        "width": 12, "heads": 3, "hidden": 8, "layers": 3, "dropout": 0.0, "jitter": 5.0, "standardize": true,
        "discriminator": { "input": "finest", "heads": 1, "hidden": 4 },
        "compression": "on", "bases": "none", "pull": 0.1,
    });
    let mut plain = small.clone();
    plain["update"] = json!("plain");
    for keys in [small, other, plain] {
        conformance::detector("iuf", &Extra::default().with("detector", "iuf", keys));
    }
}

#[test]
fn ccnf_detectors_with_private_layers_conform() {
    let layers = json!([{ "kind": "whitening", "region_grid": 3 }, { "kind": "factor", "rank": 4 }]);
    let prototype = json!({ "kind": "prototype" });
    let around_a_flow = json!({ "layers": layers, "blocks": 2, "position": 8, "router": prototype });
    let on_directions =
        json!({ "layers": layers, "blocks": 1, "position": 0, "directions": [4], "folds": 0 });
    let random = json!({ "blocks": 1, "position": 0, "directions": [5, 3], "basis": "random" });
    let alone = json!({ "layers": layers, "blocks": 0, "router": prototype });
    for keys in [around_a_flow, on_directions, random, alone] {
        conformance::detector("ccnf", &Extra::default().with("detector", "ccnf", keys));
    }
}

#[test]
fn ccnf_detectors_with_private_parts_conform() {
    let coupling =
        |kind: &str, private: &str| json!({ "kind": kind, "subnet": { "private": private, "rank": 2 } });
    let adapters = json!({ "blocks": 2, "private_blocks": 2, "position": 8, "coupling": coupling("affine", "low-rank") });
    let copies = json!({ "blocks": 3, "private_blocks": 1, "position": 0, "mixing": "permutation",
                         "coupling": coupling("additive", "copy"), "conditioner": { "kind": "film", "width": 6 },
                         "regularizers": [{ "kind": "mutual-information", "hard": true }, { "kind": "scale" }],
                         "layers": [{ "kind": "whitening", "region_grid": 3 }] });
    let codes = json!({ "blocks": 2, "position": 8, "coupling": { "kind": "affine", "subnet": { "hidden": 12 } },
                        "conditioner": { "kind": "film", "width": 6, "free_codes": true } });
    let prototypes = json!({ "blocks": 2, "position": 8, "conditioner": { "kind": "prototype", "width": 5, "hidden": 8 } });
    for keys in [adapters, copies, codes, prototypes] {
        conformance::detector("ccnf", &Extra::default().with("detector", "ccnf", keys));
    }
}

#[test]
fn ccnf_detectors_with_a_first_task_of_their_own_conform() {
    let first_task = json!({ "noise": 0.3, "mixup": 0.3, "pseudo_classes": 2, "episodes": 0.5 });
    let embedding = json!({ "blocks": 2, "position": 8, "first_task": first_task,
                            "regularizers": [{ "kind": "mutual-information", "hard": true }, { "kind": "latent-variance" }],
                            "layers": [{ "kind": "whitening", "region_grid": 3 }] });
    let prototype = json!({ "blocks": 2, "position": 0, "first_task": { "noise": 0.1, "pseudo_classes": 3 },
                            "conditioner": { "kind": "prototype", "width": 5, "hidden": 8 } });
    for keys in [embedding, prototype] {
        conformance::detector("ccnf", &Extra::default().with("detector", "ccnf", keys));
    }
}

#[test]
fn mahalanobis_detectors_conform() {
    let (all, prototype) = (json!({ "kind": "likelihood" }), json!({ "kind": "prototype" }));
    let short = json!({ "kind": "likelihood", "top": 2, "shortlist": prototype });
    for (mode, router) in
        [("pooled", &all), ("position-mean", &short), ("region", &prototype), ("per-position", &all)]
    {
        let keys = json!({ "mode": mode, "router": router });
        conformance::detector("mahalanobis", &Extra::default().with("detector", "mahalanobis", keys));
    }
}

#[test]
fn image_density_detectors_conform() {
    let inner = json!({ "kind": "ccnf", "blocks": 1, "position": 0 });
    for keys in [json!({}), json!({ "weight": 1.0, "rank": 3, "folds": 0, "detector": inner })] {
        conformance::detector("image-density", &Extra::default().with("detector", "image-density", keys));
    }
}

#[test]
fn encoders_conform() {
    let folder = tempfile::tempdir().unwrap();
    let fine = [2, 3, 2];
    let coarse = [1, 2, 4];
    for (i, id) in conformance::encoder_image_ids().iter().enumerate() {
        write_features(
            &folder.path().join(format!("{id}.safetensors")),
            &[("fine", fine), ("coarse", coarse)],
            i as f32,
        );
    }
    let extra = Extra::default().with("encoder", "efficientnet-lite0", json!({ "size": 64 })).with(
        "encoder",
        "features",
        json!({ "path": folder.path(), "levels": ["fine", "coarse"] }),
    );
    let small = json!({ "kind": "efficientnet-lite0", "size": 128, "levels": ["stride16"] });
    let extra = extra.with("encoder", "pyramid", json!({ "encoder": small }));
    // `onnx` is checked where its feature is on: plugins/encoders/tests.
    let here = entries::<dyn Encoder>().into_iter().map(|e| e.name).filter(|n| *n != "onnx");
    here.for_each(|name| conformance::encoder(name, &extra));
}

/// Writes features that count upwards.
fn write_features(path: &Path, levels: &[(&str, [usize; 3])], first: f32) {
    let bytes = |shape: &[usize; 3]| -> Vec<u8> {
        (0..shape.iter().product::<usize>()).flat_map(|k| (first + k as f32 / 8.0).to_le_bytes()).collect()
    };
    let data: Vec<Vec<u8>> = levels.iter().map(|(_, shape)| bytes(shape)).collect();
    let views: Vec<_> = levels
        .iter()
        .zip(&data)
        .map(|((name, shape), d)| (*name, TensorView::new(Dtype::F32, shape.to_vec(), d).unwrap()))
        .collect();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn datasets_conform() {
    let folder = tempfile::tempdir().unwrap();
    let (images, manifest) = (folder.path().join("images"), folder.path().join("manifest.csv"));
    let spec = SyntheticSpec {
        size: 32,
        classes: vec!["bolt".into(), "pine".into()],
        train_per_class: 3,
        test_good_per_class: 2,
        test_per_defect: 2,
        ..SyntheticSpec::default()
    };
    write_mvtec(&spec, &images, |_, _| {}).unwrap();
    std::fs::write(&manifest, manifest_of(&spec)).unwrap();
    let (table, btad) = (folder.path().join("1cls.csv"), folder.path().join("btad"));
    let columns = std::fs::read_to_string(&manifest).unwrap().replace("path,class", "image,object");
    std::fs::write(&table, columns).unwrap();
    write_mvtec(&spec, &btad, |_, _| {}).unwrap();
    ["bolt", "pine"].iter().for_each(|class| as_btad(&btad.join(class)));
    let extra = Extra::default()
        .with("dataset", "mvtec", json!({ "path": images }))
        .with("dataset", "btad", json!({ "path": btad }))
        .with("dataset", "visa", json!({ "path": images, "split": table }))
        .with("dataset", "folder", json!({ "manifest": manifest, "root": images }))
        .with(
            "dataset",
            "synthetic",
            json!({ "size": 32, "train": 3, "test_good": 2, "test_per_defect": 2 }),
        );
    conformance::datasets(&extra);
}

/// Renames what a class's folder holds to the names of BTAD.
fn as_btad(class: &Path) {
    for part in ["train", "test"] {
        std::fs::rename(class.join(part).join("good"), class.join(part).join("ok")).unwrap();
    }
    for kind in std::fs::read_dir(class.join("ground_truth")).unwrap() {
        for mask in std::fs::read_dir(kind.unwrap().path()).unwrap() {
            let mask = mask.unwrap().path();
            let name = mask.file_name().unwrap().to_string_lossy().replace("_mask", "");
            std::fs::rename(&mask, mask.with_file_name(name)).unwrap();
        }
    }
}

/// The same images as a list.
fn manifest_of(spec: &SyntheticSpec) -> String {
    let mut text = String::from("path,class,split,label,kind,mask\n");
    for image in spec.images().unwrap() {
        let (id, class, split) = (image.id(), &image.class, if image.train { "train" } else { "test" });
        let row = match image.defect {
            None => format!("{id}.png,{class},{split},0,,"),
            Some(kind) => format!(
                "{id}.png,{class},{split},1,{kind},{class}/ground_truth/{kind}/{:03}_mask.png",
                image.index
            ),
        };
        writeln!(text, "{row}").unwrap();
    }
    text
}

#[test]
#[should_panic(
    expected = "coupling `afine`: not registered; there are: additive, affine, all-in-one, linear, spline"
)]
fn a_name_that_is_not_registered_is_said() {
    conformance::coupling("afine", &Extra::default());
}

#[test]
#[should_panic(expected = "the keys of detector `ccnf` are not an object")]
fn extra_keys_are_a_table() {
    let _ = Extra::default().with("detector", "ccnf", Value::Null);
}
