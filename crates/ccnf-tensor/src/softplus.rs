//! The softplus function.

use crate::{Dev, SwitchTape};
use dfdx::prelude::{Shape, Tensor};

/// Above this `ln(1 + e^x)` is `x` to the last bit of f32.
const LINEAR: f32 = 20.0;

/// `ln(1 + e^x)`, without overflow: `ln(1 + e^min(x, 20)) + max(x - 20, 0)`. Its gradient is the sigmoid, up to 2e-9.
pub fn softplus<S: Shape>(x: Tensor<S, f32, Dev, SwitchTape>) -> Tensor<S, f32, Dev, SwitchTape> {
    let rest = (x.clone() - LINEAR).relu();
    (x.clamp(f32::MIN, LINEAR).exp() + 1.0).ln() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TensorError, gradients, mat, tracked};
    use dfdx::prelude::*;

    #[test]
    fn value_and_gradient_are_those_of_softplus_from_end_to_end() {
        let points = [-200.0f32, -30.0, -3.0, 0.0, 0.5, 5.0, 19.9, 20.0, 20.1, 90.0, 3e4];
        let x = mat(points.to_vec(), 1, points.len()).unwrap();
        let (_, y, mut grads) = gradients(|| {
            let y = softplus(tracked(&x));
            Ok::<_, TensorError>((y.clone().sum(), y.as_vec()))
        })
        .unwrap();
        for ((x, y), g) in points.iter().zip(y).zip(grads.of(&x).unwrap()) {
            let x = f64::from(*x);
            let exact = x.max(0.0) + (-x.abs()).exp().ln_1p();
            let slope = 1.0 / (1.0 + (-x).exp());
            assert!(
                (f64::from(y) - exact).abs() <= 1e-6 * exact.max(1.0),
                "softplus({x}) is {y}, not {exact}"
            );
            assert!((f64::from(g) - slope).abs() <= 1e-6, "softplus'({x}) is {g}, not {slope}");
        }
    }
}
