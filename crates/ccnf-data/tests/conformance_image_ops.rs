//! Every expected tensor of `image_ops.safetensors` against this crate. All sizes come from the file.

mod common;

use ccnf_core::{Mask, RgbImage};
use ccnf_data::*;
use common::{Outcome, Tensor, Vectors, reference_directory};

#[test]
fn image_operations_match_the_reference() -> Outcome {
    let Some(directory) = reference_directory("image_operations_match_the_reference")? else { return Ok(()) };
    let vectors = Vectors::read(&directory.join("image_ops.safetensors"))?;
    let mut compared = 0;
    let mut wrong = Vec::new();
    for (name, tolerance) in vectors.expected() {
        let expected = vectors.tensor(name)?;
        let actual = compute(&vectors, name, expected)?;
        assert_eq!(actual.len(), expected.data.len(), "{name}: number of values");
        let misses: Vec<usize> = (0..actual.len())
            .filter(|&i| !tolerance.accepts(actual[i].into(), expected.data[i].into()))
            .collect();
        if let Some(&i) = misses.first() {
            let n = misses.len();
            wrong.push(format!(
                "{name}: {n} values, the first at {i}: {} for {}",
                actual[i], expected.data[i]
            ));
        }
        compared += 1;
    }
    assert!(wrong.is_empty(), "out of tolerance:\n{}", wrong.join("\n"));
    assert!(compared > 0, "no expected tensor");
    Ok(())
}

/// What this crate says for the expected tensor `name`; its shape gives the size to compute.
fn compute(vectors: &Vectors, name: &str, expected: &Tensor) -> Outcome<Vec<f32>> {
    let shape = &expected.shape;
    let parts: Vec<&str> = name.split('.').collect();
    Ok(match parts[1..] {
        ["bilinear", "up" | "down" | "x16", corners] => {
            let maps = maps(vectors.tensor("in.map")?)?;
            let used = shape[..shape.len() - 2].iter().product();
            let (h, w) = height_width(shape);
            let corners = corners == "align_corners_true";
            maps.iter().take(used).flat_map(|m| m.resize_bilinear(h, w, corners).data).collect()
        }
        ["adaptive_avg_pool_3x3"] => {
            let (h, w) = height_width(shape);
            maps(vectors.tensor("in.map")?)?.iter().flat_map(|m| m.adaptive_avg_pool(h, w).data).collect()
        }
        ["avg_pool_k3_s1"] => {
            let maps = maps(vectors.tensor("in.map")?)?;
            let k = maps[0].height - height_width(shape).0 + 1;
            let pooled: Result<Vec<_>, _> = maps.iter().map(|m| m.avg_pool(k)).collect();
            pooled?.into_iter().flat_map(|m| m.data).collect()
        }
        ["position_code"] => position_code(shape[0], shape[1], shape[2])?,
        [blur] if blur.starts_with("blur") => {
            let sigma = vectors.tensor("hp.sigma")?.data[0];
            maps(vectors.tensor(&format!("in.{blur}"))?)?[0].gaussian_blur(sigma).data
        }
        ["hgad_prep_u8"] => levels(&hgad_image(vectors)?),
        ["hgad_prep_normalised_chw"] => normalized(vectors, &hgad_image(vectors)?)?,
        ["hgad_prep_mask_u8"] => {
            let side = vectors.dim("S")?;
            mask_levels(&centre_crop_mask(&resize_mask_shorter_side(&mask(vectors)?, side)?, side, side)?)
        }
        [_, "mask_nearest_u8"] => mask_levels(&resize_mask(&mask(vectors)?, shape[1], shape[0])?),
        [_, "bilinear_u8"] => levels(&resize(&image(vectors)?, shape[1], shape[0], Filter::Bilinear)?),
        [_, "lanczos_u8"] => levels(&resize(&image(vectors)?, shape[1], shape[0], Filter::Lanczos)?),
        [_, "bilinear_normalised_chw"] => {
            normalized(vectors, &resize(&image(vectors)?, shape[2], shape[1], Filter::Bilinear)?)?
        }
        [_, "lanczos_normalised_chw"] => {
            normalized(vectors, &resize(&image(vectors)?, shape[2], shape[1], Filter::Lanczos)?)?
        }
        _ => return Err(format!("no operation for {name}").into()),
    })
}

fn height_width(shape: &[usize]) -> (usize, usize) {
    (shape[shape.len() - 2], shape[shape.len() - 1])
}

fn maps(tensor: &Tensor) -> Outcome<Vec<FloatMap>> {
    let (h, w) = height_width(&tensor.shape);
    let maps: Result<Vec<_>, _> =
        tensor.data.chunks(h * w).map(|c| FloatMap::new(h, w, c.to_vec())).collect();
    Ok(maps?)
}

fn image(vectors: &Vectors) -> Outcome<RgbImage> {
    let tensor = vectors.tensor("in.image_u8")?;
    let data = tensor.data.iter().map(|&v| v as u8).collect();
    Ok(RgbImage { width: tensor.shape[1], height: tensor.shape[0], data })
}

fn mask(vectors: &Vectors) -> Outcome<Mask> {
    let tensor = vectors.tensor("in.mask_u8")?;
    let data = tensor.data.iter().map(|&v| v != 0.0).collect();
    Ok(Mask { width: tensor.shape[1], height: tensor.shape[0], data })
}

fn hgad_image(vectors: &Vectors) -> Outcome<RgbImage> {
    let side = vectors.dim("S")?;
    Ok(centre_crop(&resize_shorter_side(&image(vectors)?, side, Filter::Lanczos)?, side, side)?)
}

fn levels(image: &RgbImage) -> Vec<f32> {
    image.data.iter().map(|&v| v.into()).collect()
}

fn mask_levels(mask: &Mask) -> Vec<f32> {
    mask.data.iter().map(|&m| if m { 255.0 } else { 0.0 }).collect()
}

fn normalized(vectors: &Vectors, image: &RgbImage) -> Outcome<Vec<f32>> {
    let three = |name: &str| -> Outcome<[f32; 3]> { Ok(vectors.tensor(name)?.data[..].try_into()?) };
    Ok(normalize_chw(image, three("hp.mean")?, three("hp.std")?))
}
