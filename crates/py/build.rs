//! Tells the crate whether it is optimised, which no predefined cfg says.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("OPT_LEVEL").is_ok_and(|level| level != "0") {
        println!("cargo::rustc-cfg=gupstress_optimized");
    }
}
