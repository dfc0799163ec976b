//! Which images a step takes.

use crate::neck::Neck;
use ccnf::prelude::*;
use ccnf::rand::seq::SliceRandom;

/// The images of one step: `(class of the view, image of the class)` each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageBatch {
    /// The images.
    pub images: Vec<(usize, usize)>,
    /// Whether the step begins an epoch.
    pub first_of_epoch: bool,
    /// Whether the step ends an epoch.
    pub last_of_epoch: bool,
}

/// Draws the images of a step. An epoch goes once through all images of the view in a new order and leaves out what is too little for a
/// batch (spec section 6); a view with fewer images than a batch is a batch. The order of an epoch follows from stage and epoch alone.
pub fn draw(view: &TrainView, step: u64, batch: usize, streams: &Streams) -> ImageBatch {
    let classes = view.classes().iter().enumerate();
    let mut all: Vec<(usize, usize)> =
        classes.flat_map(|(c, class)| (0..class.len()).map(move |i| (c, i))).collect();
    let size = batch.min(all.len()).max(1);
    let per_epoch = (all.len() / size).max(1) as u64;
    let (epoch, number) = (step / per_epoch, step % per_epoch);
    all.shuffle(&mut streams.stream(&format!("iuf.stage{}.epoch", view.stage()), epoch));
    let images = all.into_iter().skip(number as usize * size).take(size).collect();
    ImageBatch { images, first_of_epoch: number == 0, last_of_epoch: number + 1 == per_epoch }
}

/// Images per step for as many tokens as the config asks for: at least one.
pub(crate) fn images_of(tokens: usize, neck: &Neck) -> usize {
    (tokens / neck.tokens().max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn view(stage: usize, images: &[usize]) -> TrainView {
        let class = |(c, n): (usize, &usize)| {
            let image = || Arc::new(vec![vec![0.0f32]]) as Arc<dyn ImageFeatures>;
            TrainClass::new(format!("c{c}"), (0..*n).map(|_| image()).collect())
        };
        let level = LevelSpec { name: "l".into(), height: 1, width: 1, channels: 1 };
        TrainView::new(stage, vec![level], images.iter().enumerate().map(class).collect())
    }

    #[test]
    fn an_epoch_takes_every_image_once_and_drops_the_rest() {
        let (v, s) = (view(0, &[5, 3]), Streams::new(1));
        let epoch = |first: u64| -> Vec<(usize, usize)> {
            (first..first + 2).flat_map(|step| draw(&v, step, 3, &s).images).collect()
        };
        for first in [0, 2, 4] {
            let mut images = epoch(first);
            assert_eq!(images.len(), 6);
            images.sort_unstable();
            images.dedup();
            assert_eq!(images.len(), 6, "an image came twice");
        }
        assert_ne!(epoch(0), epoch(2));
        let ends: Vec<_> =
            (0..4).map(|i| draw(&v, i, 3, &s)).map(|b| (b.first_of_epoch, b.last_of_epoch)).collect();
        assert_eq!(ends, [(true, false), (false, true), (true, false), (false, true)]);
    }

    #[test]
    fn stages_differ_and_a_small_view_is_one_batch() {
        let s = Streams::new(1);
        assert_ne!(draw(&view(0, &[40]), 0, 20, &s), draw(&view(1, &[40]), 0, 20, &s));
        let batch = draw(&view(0, &[2, 1]), 7, 24, &s);
        assert_eq!((batch.images.len(), batch.first_of_epoch, batch.last_of_epoch), (3, true, true));
    }
}
