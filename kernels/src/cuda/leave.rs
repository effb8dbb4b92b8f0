//! Ending a process whose driver does not come back.

#![expect(unsafe_code, reason = "the standard library has no exit without exit handlers")]

use std::ffi::c_int;

/// Ends the process at once. Exit handlers are not run: the driver's wait for what is on the card, and a kernel that
/// never ends would hold them for ever. Buffered output is lost.
pub fn leave(code: u8) -> ! {
    // SAFETY: the signature of unistd.h; it takes no pointer, and nothing runs after it.
    unsafe { _exit(c_int::from(code)) }
}

unsafe extern "C" {
    fn _exit(code: c_int) -> !;
}
