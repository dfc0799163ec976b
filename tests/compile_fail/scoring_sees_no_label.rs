use ccnf::core::TestIndex;

fn score(test: &TestIndex) {
    let _ = test.score_class("bolt", |images| Ok(images.iter().map(|image| image.label.anomalous).collect()));
}

fn main() {}
