use ccnf::core::TrainView;

fn peek(view: &TrainView) {
    view.defect_labels();
    view.defect_masks();
    view.classes()[0].defect_labels();
}

fn main() {}
