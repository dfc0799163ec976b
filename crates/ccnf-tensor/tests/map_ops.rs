//! Operations on whole maps against their composed twins and finite differences, and what they promise beside.
#![cfg(not(feature = "cuda"))]

mod common;

use ccnf_tensor::ops::{self, Grid, composed};
use ccnf_tensor::{Mat, constant, mat};
use common::{check, normal, weigh};

const GRIDS: [Grid; 3] =
    [Grid { height: 2, width: 4 }, Grid { height: 4, width: 6 }, Grid { height: 2, width: 2 }];

#[test]
fn a_depthwise_convolution_equals_its_twin_and_finite_differences() {
    for grid in [Grid { height: 3, width: 4 }, Grid { height: 1, width: 5 }, Grid { height: 1, width: 1 }] {
        for maps in [1, 3] {
            let (x, w) = (normal("x", maps * grid.tokens(), 3), normal("w", 9, 3));
            check(
                &[&x, &w],
                |v| Ok(weigh(&ops::depthwise(&v[0], &v[1], grid)?, "o")),
                |v| Ok(weigh(&composed::depthwise(&v[0], &v[1], grid)?, "o")),
            );
        }
    }
}

#[test]
fn a_depthwise_convolution_adds_the_weighted_window_to_every_token() {
    // One channel, weights 1 to 9: the middle of a 3x3 map sees all of it, a corner four cells.
    let grid = Grid { height: 3, width: 3 };
    let x = mat((1..10).map(|v| v as f32).collect(), 9, 1).unwrap();
    let y = ops::depthwise(&constant(&x), &constant(&x), grid).unwrap().as_vec();
    assert_eq!(y[4], 5.0 + (1..10).map(|v| (v * v) as f32).sum::<f32>());
    assert_eq!(y[0], 1.0 + (5 + 2 * 6 + 4 * 8 + 5 * 9) as f32);
}

#[test]
fn a_map_does_not_depend_on_the_other_maps_of_a_call() {
    let grid = GRIDS[1];
    let (x, w) = (normal("x", 3 * grid.tokens(), 5), constant(&normal("w", 9, 5)));
    let all = ops::depthwise(&constant(&x), &w, grid).unwrap().as_vec();
    let part = grid.tokens() * 5..2 * grid.tokens() * 5;
    let alone = constant(&mat(x.as_vec()[part.clone()].to_vec(), grid.tokens(), 5).unwrap());
    assert_eq!(ops::depthwise(&alone, &w, grid).unwrap().as_vec(), all[part]);
}

#[test]
fn the_haar_step_and_its_inverse_equal_their_twins_and_finite_differences() {
    for grid in GRIDS {
        let n = 2 * grid.tokens();
        let (x, y) = (normal("x", n, 3), normal("y", n / 4, 12));
        check(
            &[&x],
            |v| Ok(weigh(&ops::haar(&v[0], grid)?, "o")),
            |v| Ok(weigh(&composed::haar(&v[0], grid)?, "o")),
        );
        check(
            &[&y],
            |v| Ok(weigh(&ops::haar_inverse(&v[0], grid)?, "o")),
            |v| Ok(weigh(&composed::haar_inverse(&v[0], grid)?, "o")),
        );
    }
}

#[test]
fn the_haar_step_is_orthonormal() {
    // Its matrix from unit vectors, in full: H H^T = I, so the log-determinant is 0 and the inverse is the transpose.
    let (grid, d) = (Grid { height: 2, width: 4 }, 2);
    let size = grid.tokens() * d;
    let column = |j: usize| -> Vec<f32> {
        let mut unit = vec![0.0; size];
        unit[j] = 1.0;
        ops::haar(&constant(&mat(unit, grid.tokens(), d).unwrap()), grid).unwrap().as_vec()
    };
    let columns: Vec<Vec<f32>> = (0..size).map(column).collect();
    for (i, a) in columns.iter().enumerate() {
        for (j, b) in columns.iter().enumerate() {
            let product: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            assert_eq!(product, if i == j { 1.0 } else { 0.0 }, "columns {i} and {j}");
        }
    }
    // the published patch, upper left of the second patch of the map
    let x = mat((0..size).map(|v| (v * v) as f32).collect(), grid.tokens(), d).unwrap();
    let v = x.as_vec();
    let [a, b, c, e] = grid.patch(1).map(|cell| v[cell * d]);
    let y = ops::haar(&constant(&x), grid).unwrap().as_vec();
    let second = [y[4 * d], y[5 * d], y[6 * d], y[7 * d]];
    let wanted = [a + b + c + e, a - b + c - e, a + b - c - e, a - b - c + e].map(|v| v / 2.0);
    assert_eq!(second, wanted);
}

#[test]
fn the_inverse_of_the_haar_step_gives_back_the_maps() {
    for grid in GRIDS {
        let x: Mat = normal("x", 2 * grid.tokens(), 3);
        let back = ops::haar_inverse(&ops::haar(&constant(&x), grid).unwrap(), grid).unwrap().as_vec();
        for (a, b) in back.iter().zip(x.as_vec()) {
            assert!((a - b).abs() < 1e-6, "{a} is not {b}");
        }
    }
}

#[test]
fn parts_of_maps_odd_sides_and_wrong_weights_are_errors() {
    let x = constant(&normal("x", 12, 4));
    let grid = |height, width| Grid { height, width };
    let weight = |rows| constant(&normal("w", rows, 4));
    assert!(ops::depthwise(&x, &weight(9), grid(3, 4)).is_ok());
    for (rows, g) in [(8, grid(3, 4)), (9, grid(5, 1)), (9, grid(0, 4))] {
        assert!(ops::depthwise(&x, &weight(rows), g).is_err(), "{g:?}");
    }
    assert!(ops::haar(&x, grid(2, 2)).is_ok() && ops::haar(&x, grid(3, 4)).is_err());
    assert!(ops::haar(&x, grid(4, 4)).is_err());
    assert!(ops::haar_inverse(&constant(&normal("x", 2, 6)), grid(2, 4)).is_err());
}
