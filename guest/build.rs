//! Refuses to build what could not run: `/init` finds no libraries.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let features = std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    let is_static = features.split(',').any(|feature| feature == "crt-static");
    if !is_static && std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!(
            "cargo::error=not static; nearest: RUSTFLAGS='-C target-feature=+crt-static', or pip install ./guest"
        );
    }
}
