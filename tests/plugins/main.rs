//! Run-time plugins as people use them: an SDK made from these sources, plugins built against it in folders of their own, and the program that
//! loads them. `cargo nextest run -p ccnf-cli --features dynamic`.

mod builds;
mod hostile;
mod sdk;
mod works;
