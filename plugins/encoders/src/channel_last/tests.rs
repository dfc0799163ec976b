//! Against the general runtime, and graphs that must be refused.

use super::*;
use crate::onnx_file::{NodeProto, read_graph};

const WEIGHTS: &[u8] = include_bytes!("../../weights/efficientnet_lite0_stride16.onnx");

fn names(levels: &[&str]) -> Vec<String> {
    levels.iter().map(|l| l.to_string()).collect()
}

/// Structure, noise and saturated areas.
fn image(size: usize) -> RgbImage {
    let value = |i: usize| match (i / 3 % size / 20 + i / 3 / size / 30) % 3 {
        0 => (i * i * 7 % 251) as u8,
        1 => [0, 255, 255][i % 3],
        _ => (i / 3 % size * 3) as u8,
    };
    RgbImage { width: size, height: size, data: (0..size * size * 3).map(value).collect() }
}

#[cfg(feature = "onnx")]
#[test]
fn every_level_equals_the_general_runtime_at_every_size() {
    use crate::onnx::network::{Network, parse};
    use crate::preprocess::{ResizeFilter, ResizeMode};
    let levels = names(&["stride16", "stride4", "stride8"]);
    // Values reach 60; on this image both runtimes are up to 2.5e-4 off a float64 run at 256 pixels.
    for (size, tolerance) in [(32, 2e-4), (64, 2e-4), (160, 2e-4), (224, 2e-4), (256, 3e-4)] {
        let graph = read_graph(WEIGHTS, "lite0").unwrap();
        let ours = ChannelLast::compile(&graph, "lite0", &levels, size).unwrap();
        let (general, _) =
            Network::compile(parse(WEIGHTS, "lite0").unwrap(), "lite0", None, &levels, size).unwrap();
        assert_eq!(ours.shapes(), general.shapes());
        let image = image(size);
        let unit = Preprocess::unit(size, ResizeMode::Squash, ResizeFilter::Bilinear);
        let expected = general.run(unit.apply(&image).unwrap()).unwrap();
        let found = ours.run(&image).unwrap();
        for ((level, a), b) in levels.iter().zip(&found).zip(&expected) {
            let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert_eq!(a.len(), b.len());
            assert!(worst < tolerance, "{level} at {size} pixels differs by {worst}");
        }
        assert_eq!(ours.run(&image).unwrap(), found, "used buffers do not matter");
    }
}

#[test]
fn narrower_vectors_give_the_same_maps() {
    let levels = names(&["stride4", "stride8", "stride16"]);
    let graph = read_graph(WEIGHTS, "lite0").unwrap();
    let image = image(64);
    let expected = ChannelLast::compile(&graph, "lite0", &levels, 64).unwrap().run(&image).unwrap();
    let mut narrower = vec![Arch::Scalar];
    #[cfg(target_arch = "x86_64")]
    narrower.extend(pulp::x86::V3::try_new().map(Arch::V3));
    for arch in narrower {
        let found =
            ChannelLast::compile_for(arch, &graph, "lite0", &levels, 64).unwrap().run(&image).unwrap();
        for (a, b) in found.iter().flatten().zip(expected.iter().flatten()) {
            assert!((a - b).abs() < 2e-4, "{a} instead of {b} with {arch:?}");
        }
    }
}

#[test]
fn blocks_after_the_last_level_are_left_out() {
    let graph = read_graph(WEIGHTS, "lite0").unwrap();
    let blocks =
        |levels: &[&str]| ChannelLast::compile(&graph, "lite0", &names(levels), 64).unwrap().blocks.len();
    assert_eq!([blocks(&["stride4"]), blocks(&["stride8", "stride4"]), blocks(&["stride16"])], [3, 5, 11]);
}

#[test]
fn an_image_of_another_size_is_an_error() {
    let network =
        ChannelLast::compile(&read_graph(WEIGHTS, "lite0").unwrap(), "lite0", &names(&["stride4"]), 64)
            .unwrap();
    assert_eq!(network.run(&image(32)).unwrap_err().kind(), ErrorKind::Encoder);
}

#[test]
fn any_other_graph_is_refused() {
    let refused = |expected: &str, change: &dyn Fn(&mut GraphProto)| {
        let mut graph = read_graph(WEIGHTS, "lite0").unwrap();
        change(&mut graph);
        let Err(error) = ChannelLast::compile(&graph, "lite0", &names(&["stride16"]), 64) else {
            panic!("accepted; expected: {expected}");
        };
        assert_eq!(error.kind(), ErrorKind::Encoder);
        assert!(error.to_string().contains(expected), "{error} instead of {expected}");
    };
    fn at<'a>(g: &'a mut GraphProto, op: &str, n: usize) -> &'a mut NodeProto {
        g.node.iter_mut().filter(|node| node.op_type == op).nth(n).unwrap()
    }
    fn ints(node: &mut NodeProto, key: &str, values: &[i64]) {
        node.attribute.iter_mut().find(|a| a.name == key).unwrap().ints = values.to_vec();
    }
    refused("(Clap) is not supported", &|g| at(g, "Clip", 3).op_type = "Clap".into());
    refused("pads or dilates", &|g| ints(at(g, "Conv", 1), "dilations", &[2, 2]));
    refused("pads or dilates", &|g| ints(at(g, "Conv", 1), "pads", &[1, 1, 1, 1]));
    refused("no square kernel", &|g| ints(at(g, "Conv", 1), "strides", &[1, 2]));
    refused("no inverted residual block", &|g| ints(at(g, "Conv", 1), "strides", &[3, 3]));
    refused("constant weight", &|g| at(g, "Conv", 4).input[1] = "image".into());
    refused("constant bias", &|g| drop(at(g, "Conv", 4).input.pop()));
    refused("a constant number", &|g| at(g, "Clip", 0).input.truncate(1));
    refused("fixed number of zeros", &|g| at(g, "Pad", 1).input[1] = "image".into());
    refused("fixed number of zeros", &|g| at(g, "Pad", 1).attribute[0].s = b"reflect".to_vec());
    refused("the node before", &|g| at(g, "Conv", 5).input[0] = "image".into());
    refused("does not add the input", &|g| at(g, "Add", 1).input[0] = "image".into());
    refused("scales a feature map", &|g| {
        let add = at(g, "Add", 1);
        add.op_type = "Mul".into();
        add.input = vec![add.input[1].clone(), "/Constant_output_0".into()];
    });
    refused("ends within", &|g| {
        let last = g.node.iter().rposition(|n| n.op_type == "Conv").unwrap();
        g.node.truncate(last);
    });
    refused("no block that gives `stride16`", &|g| at(g, "Add", 5).output[0] = "other".into());
    refused("constant weight", &|g| g.initializer[0].raw_data.truncate(8));
}
