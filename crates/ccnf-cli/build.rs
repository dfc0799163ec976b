//! Where the program with the shared core looks for it: beside itself, and in the folder of an SDK.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_DYNAMIC").is_some() {
        println!("cargo::rustc-link-arg-bins=-Wl,-rpath,$ORIGIN:$ORIGIN/deps:$ORIGIN/../lib/ccnf");
        // As an entry that goes before LD_LIBRARY_PATH, in which cargo may have named the shared core of another build.
        println!("cargo::rustc-link-arg-bins=-Wl,--disable-new-dtags");
    }
}
