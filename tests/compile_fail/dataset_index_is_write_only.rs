use ccnf::core::DatasetIndex;

fn labels(index: &DatasetIndex) -> usize {
    index.classes["bolt"].test.len()
}

fn main() {}
