//! What a worker says of its host.

/// The host's name, in the alphabet of names.
pub fn node_name() -> String {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy().to_lowercase();
    let host = host.split('.').next().unwrap_or_default();
    let allowed = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let name: String = host.chars().map(allowed).take(40).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "node".to_owned() } else { name.to_owned() }
}

/// Features that change which code computes; equal ones give equal bits on resume.
pub fn cpu_features() -> String {
    let mut features: Vec<&str> = vec![std::env::consts::ARCH];
    #[cfg(target_arch = "x86_64")]
    {
        let known = [
            ("avx2", std::arch::is_x86_feature_detected!("avx2")),
            ("fma", std::arch::is_x86_feature_detected!("fma")),
            ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
            ("avx512bf16", std::arch::is_x86_feature_detected!("avx512bf16")),
        ];
        features.extend(known.into_iter().filter(|(_, present)| *present).map(|(name, _)| name));
    }
    features.join(" ")
}
