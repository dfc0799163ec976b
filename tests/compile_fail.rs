//! Training code cannot see labels: what would leak does not compile.

#[test]
fn labels_are_out_of_reach_of_training_code() {
    trybuild::TestCases::new().compile_fail("../../tests/compile_fail/*.rs");
}
