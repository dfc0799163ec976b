//! Where the program with the shared core looks for it: beside itself, and in the folder of an SDK.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_DYNAMIC").is_some() {
        println!("cargo::rustc-link-arg-bins=-Wl,-rpath,$ORIGIN:$ORIGIN/deps:$ORIGIN/../lib/ccnf");
    }
}
