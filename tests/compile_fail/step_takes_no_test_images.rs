use ccnf::core::{Detector, TestIndex};

fn train(detector: &mut dyn Detector, test: &TestIndex) {
    let _ = detector.step(test, 0);
}

fn main() {}
