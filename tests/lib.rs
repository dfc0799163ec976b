//! Tests across the crates of ccnf; the test files stand beside this one.
