//! The conformance suite has teeth: components that break one promise each are rejected for it.

use crate::scaling::{NoKeys, made};
use ccnf::dfdx::prelude::{MeanTo, Rank0};
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// Takes any key.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct AnyKeys {
    /// A key.
    known: u32,
}

/// Has a key that nobody describes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Undescribed {
    secret: u32,
}

/// The mean latent, with half of its gradient.
struct Half;
impl Regularizer for Half {
    fn name(&self) -> &'static str {
        "half-gradient"
    }
    fn weight(&self) -> f32 {
        1.0
    }
    fn penalty(&self, output: &FlowOutput) -> Result<Option<Scalar>> {
        let (rows, cols) = *output.z.shape();
        let fixed = constant(&mat(output.z.as_vec(), rows, cols)?);
        Ok(Some((output.z.clone().mean::<Rank0, _>() + fixed.mean::<Rank0, _>()) * 0.5))
    }
}
ccnf::register_component!(
    Regularizer,
    "half-gradient",
    NoKeys,
    |_, _: &Build<'_, _>| made(Half),
    "half the gradient"
);

/// Leaves out the last class, or nothing.
struct Stages {
    forgets: bool,
}
impl UpdateRule for Stages {}

impl Strategy for Stages {
    fn stages(&self, tasks: &[Vec<String>]) -> Vec<Stage> {
        let mut stages: Vec<_> =
            tasks.iter().map(|t| Stage { classes: t.clone(), scope: TrainScope::All }).collect();
        if self.forgets && stages.len() > 1 {
            stages.pop();
        }
        stages
    }
}
ccnf::register_component!(
    Strategy,
    "forgetful",
    NoKeys,
    |_, _: &Build<'_, _>| made(Stages { forgets: true }),
    "forgets a task"
);
ccnf::register_component!(
    Strategy,
    "Not_Kebab",
    NoKeys,
    |_, _: &Build<'_, _>| made(Stages { forgets: false }),
    "a wrong name"
);
ccnf::register_component!(
    Strategy,
    "silent",
    NoKeys,
    |_, _: &Build<'_, _>| made(Stages { forgets: false }),
    ""
);
ccnf::register_component!(
    Strategy,
    "lenient",
    AnyKeys,
    |_, _: &Build<'_, _>| made(Stages { forgets: false }),
    "takes any key"
);
ccnf::register_component!(
    Strategy,
    "secretive",
    Undescribed,
    |_, _: &Build<'_, _>| made(Stages { forgets: false }),
    "hides a key"
);
ccnf::register_component!(
    Strategy,
    "twice",
    NoKeys,
    |_, _: &Build<'_, _>| made(Stages { forgets: false }),
    "registered twice"
);
ccnf::register_component!(
    Strategy,
    "twice",
    NoKeys,
    |_, _: &Build<'_, _>| made(Stages { forgets: false }),
    "registered twice"
);

/// Cannot be made.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct NoDefault {}
impl Default for NoDefault {
    fn default() -> Self {
        panic!("nothing by default")
    }
}
ccnf::register_component!(
    Strategy,
    "no-default",
    NoDefault,
    |_, _: &Build<'_, _>| made(Stages { forgets: false }),
    "has no example"
);

/// Routes to the last of the most likely classes.
struct Last;
ccnf::stateless!(Last);
impl Router for Last {
    fn route(&self, input: &RouteInput<'_>) -> Result<usize> {
        let l: Vec<f32> = input.log_likelihood.iter().map(|l| l.unwrap_or(f32::NEG_INFINITY)).collect();
        Ok((0..l.len()).max_by(|a, b| l[*a].total_cmp(&l[*b])).unwrap_or(0))
    }
}
ccnf::register_component!(Router, "last", NoKeys, |_, _: &Build<'_, _>| made(Last), "ties go to the last");

/// Fails by an assertion of its own.
struct Asserts;
impl UpdateRule for Asserts {}
impl Strategy for Asserts {
    fn stages(&self, tasks: &[Vec<String>]) -> Vec<Stage> {
        assert_eq!(tasks.len(), 100, "too few tasks");
        vec![]
    }
}
ccnf::register_component!(Strategy, "asserts", NoKeys, |_, _: &Build<'_, _>| made(Asserts), "wants tasks");

/// Routes to the first most likely class, but not always.
#[derive(Clone, Copy)]
enum Peek {
    Given,
    Unwraps,
    Missing,
}
ccnf::stateless!(Peek);
impl Router for Peek {
    fn route(&self, input: &RouteInput<'_>) -> Result<usize> {
        let known = input.log_likelihood.iter().filter(|l| l.is_some()).count();
        let value = |c: &usize| match (self, input.log_likelihood[*c]) {
            (Peek::Unwraps, l) => l.expect("a likelihood of every class"),
            (Peek::Missing, None) if known == 2 => 0.0,
            (_, l) => l.unwrap_or(f32::NEG_INFINITY),
        };
        if let (Peek::Given, Some(given)) = (self, input.given) {
            return Ok(given);
        }
        let first = |best: usize, c: usize| if value(&c) > value(&best) { c } else { best };
        Ok((0..input.classes.len()).reduce(first).unwrap_or(0))
    }
}
ccnf::register_component!(Router, "peeks", NoKeys, |_, _: &Build<'_, _>| made(Peek::Given), "knows it");
ccnf::register_component!(Router, "unwraps", NoKeys, |_, _: &Build<'_, _>| made(Peek::Unwraps), "needs all");
ccnf::register_component!(Router, "missing", NoKeys, |_, _: &Build<'_, _>| made(Peek::Missing), "takes any");

/// The negative log-likelihood per dimension, and what else comes to mind.
#[derive(Clone, Copy)]
enum Odd {
    Best,
    Level,
    Saturates,
    NotPerDim,
}
ccnf::stateless!(Odd);
impl Scorer for Odd {
    fn score(&self, tokens: &TokenLikelihoods<'_>) -> Result<Vec<f32>> {
        let missing = || Error::new(ErrorKind::Contract, "no such class");
        let own = tokens.by_class.get(tokens.class).ok_or_else(missing)?;
        let best = own.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let score = |l: &f32| match self {
            Odd::Best => (best - l) / tokens.dim as f32 - l / tokens.dim as f32,
            Odd::Level if tokens.level == 1 => l / tokens.dim as f32,
            Odd::Level => -l / tokens.dim as f32,
            Odd::Saturates => -(l / tokens.dim as f32 / 1e3).tanh(),
            Odd::NotPerDim => -l,
        };
        Ok(own.iter().map(score).collect())
    }
}
ccnf::register_component!(Scorer, "from-the-best", NoKeys, |_, _: &Build<'_, _>| made(Odd::Best), "relative");
ccnf::register_component!(
    Scorer,
    "one-level",
    NoKeys,
    |_, _: &Build<'_, _>| made(Odd::Level),
    "one level only"
);
ccnf::register_component!(Scorer, "saturates", NoKeys, |_, _: &Build<'_, _>| made(Odd::Saturates), "flat");
ccnf::register_component!(
    Scorer,
    "in-all",
    NoKeys,
    |_, _: &Build<'_, _>| made(Odd::NotPerDim),
    "not per dim"
);

/// Higher = more normal.
struct Upside;
ccnf::stateless!(Upside);
impl Scorer for Upside {
    fn score(&self, tokens: &TokenLikelihoods<'_>) -> Result<Vec<f32>> {
        let own = tokens
            .by_class
            .get(tokens.class)
            .ok_or_else(|| Error::new(ErrorKind::Contract, "no such class"))?;
        Ok(own.clone())
    }
}
ccnf::register_component!(
    Scorer,
    "upside-down",
    NoKeys,
    |_, _: &Build<'_, _>| made(Upside),
    "the wrong sign"
);

macro_rules! rejected {
    ($($test:ident: $kind:ident $name:literal, $why:literal;)*) => { $(
        #[test]
        #[should_panic(expected = $why)]
        fn $test() {
            ccnf_testkit::conformance::$kind($name, &ccnf_testkit::conformance::Extra::default());
        }
    )* };
}
pub(crate) use rejected;

rejected! {
    a_wrong_log_determinant: coupling "wrong-log-det", "coupling `wrong-log-det`: log-determinant, past warm-up";
    a_claim_to_mix: coupling "no-mixing", "it says that it mixes, and entry Some(1) of its Jacobian is 0";
    a_wrong_inverse: coupling "wrong-inverse", "coupling `wrong-inverse`: inverse, past warm-up";
    a_missing_gradient: coupling "no-gradient", "coupling `no-gradient`: no gradient reaches `block0.w`";
    half_a_gradient: coupling "half-a-gradient", "coupling `half-a-gradient`: the gradient of `block0.w` is off by";
    no_gradient_for_the_tokens: coupling "deaf", "coupling `deaf`: no gradient reaches `x`";
    an_output_that_is_not_a_number: coupling "not-finite", "coupling `not-finite`: inverse, past warm-up (D = 2, seed 1): y of the forward: value 0 of 16 is NaN";
    a_panic_while_it_is_built: coupling "panics-in-build", "too wide for me";
    a_panic_in_the_forward: coupling "panics-in-forward", "index out of bounds: the len is 1 but the index is 1";
    a_panic_in_the_backward: coupling "panics-in-backward", "no way back";
    steps_that_move_what_is_frozen: coupling "restless", "coupling `restless`: bake (D = 2, seed 1): `is_baked` is false afterwards, and `begin_step` changes";
    tokens_that_count_each_other: coupling "company", "coupling `company`: independent tokens";
    a_wrong_gradient: regularizer "half-gradient", "regularizer `half-gradient`: gradients: that of `z` is off by";
    a_class_left_out: strategy "forgetful", "strategy `forgetful`: stages of tasks with [1, 1, 1] classes: not every class exactly once";
    a_name_in_another_case: strategy "Not_Kebab", "strategy `Not_Kebab`: the name is not kebab-case";
    no_description: strategy "silent", "strategy `silent`: not one line of description";
    unknown_keys_taken: strategy "lenient", "strategy `lenient`: takes the unknown key";
    a_key_without_description: strategy "secretive", "strategy `secretive`: the schema does not describe `secret`";
    the_same_name_twice: strategy "twice", "strategy `twice`: registered more than once";
    ties_to_the_last: router "last", "router `last`: ties";
    a_score_with_the_wrong_sign: scorer "upside-down", "scorer `upside-down`: higher likelihood, lower score";
    the_class_given_seen: router "peeks", "router `peeks`: route: class 2, and class 0 where class Some(0) is given";
    a_missing_likelihood_unwrapped: router "unwraps", "a likelihood of every class";
    a_class_without_a_likelihood: router "missing", "router `missing`: likelihoods of the classes 0 and 1 alone: class 2, which has none";
    scores_that_depend_on_the_best: scorer "from-the-best", "scorer `from-the-best`: scores of level 0 under class 0, every third token";
    one_level_upside_down: scorer "one-level", "scorer `one-level`: higher likelihood, lower score";
    a_flat_score: scorer "saturates", "scorer `saturates`: higher likelihood, lower score, from -1000000 per dimension";
    scores_of_all_dims: scorer "in-all", "scorer `in-all`: the same likelihood per dimension, more dimensions";
    large_tokens_that_overflow: coupling "large", "coupling `large`: large inputs (D = 2, seed 1): forward at 100 deviations: value 0 of";
    large_tokens_refused_for_another_reason: coupling "refuses-large", "forward at 100 deviations: too large for me";
    many_tokens_that_count_each_other: coupling "many", "coupling `many`: many tokens (D = 2, seed 1), 201 of them: y: ";
    log_scales_left_out: coupling "no-log-scales", "coupling `no-log-scales`: no log-scales (D = 2, seed 1): `log_scale` is `None`, and the log-determinant of token Some(0)";
    a_tensor_that_is_not_listed: coupling "hidden-tensor", "coupling `hidden-tensor`: tensors that are not listed (D = 2, seed 1): with all listed tensors frozen `y` still has a gradient";
    a_weight_applied_twice: regularizer "weighed-twice", "regularizer `weighed-twice`: the penalty with weights of 0.25 and 0.5";
    a_weight_that_is_another: regularizer "other-weight", "regularizer `other-weight`: with weight = 0.25: it says that its weight is another one";
    square_images_only: encoder "square", "encoder `square`: an image that is 160 pixels wide and 60 high: values at level `image`";
    colours_that_vary_only: encoder "contrast", "encoder `contrast`: an image that is of one colour, level `image`: value 0 of 3 is NaN";
    large_maps_that_overflow: layer "overflows", "layer `overflows`: maps 10 times as large, forward: value 0 of";
    images_after_the_64th: detector "blocks-of-64", "detector `blocks-of-64`: 70 images at once: image 64, alone";
}
