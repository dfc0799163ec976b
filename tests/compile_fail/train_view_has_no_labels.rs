use ccnf::core::TrainView;

fn peek(view: &TrainView) {
    view.labels();
    view.masks();
    view.classes()[0].labels();
}

fn main() {}
