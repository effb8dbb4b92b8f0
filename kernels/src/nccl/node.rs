//! Keeps NCCL on this node.

#![expect(unsafe_code, reason = "settings of NCCL are variables of the environment")]

/// They win over what the environment says.
const SETTINGS: [(&str, &str); 4] = [
    // Where ranks meet, and where data goes if cards cannot reach each other.
    ("NCCL_SOCKET_IFNAME", "=lo"),
    ("NCCL_IB_DISABLE", "1"),
    ("NCCL_NET_PLUGIN", "none"),
    // Since 2.24 it would listen for whoever asks how ranks are.
    ("NCCL_RAS_ENABLE", "0"),
];

/// Ids are told over authenticated links; this is one for all who can read it.
const REMOVED: &str = "NCCL_COMM_ID";

/// Has NCCL, once it is loaded, say everything that it says over this machine's loopback: it encrypts nothing and checks
/// nobody. Has to come before the process has a second thread, which might read the environment: false if it has, and
/// nothing is changed.
#[must_use]
pub fn stay_on_this_node() -> bool {
    let threads = std::fs::read_dir("/proc/self/task").map_or(usize::MAX, Iterator::count);
    if threads != 1 {
        return false;
    }
    // SAFETY: no other thread reads the environment or changes it.
    unsafe {
        for (name, value) in SETTINGS {
            std::env::set_var(name, value);
        }
        std::env::remove_var(REMOVED);
    }
    true
}
