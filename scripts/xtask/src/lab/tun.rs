//! A network interface whose other end is a file: one read or write is one IP packet.

use std::os::fd::OwnedFd;

use anyhow::Context;
use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

/// Makes the interface in the namespace of the calling thread; it goes when the file is closed. Reads and writes do not
/// block.
///
/// Without TUNSETOFFLOAD, which is never asked for, the kernel cuts and sums every packet before it hands it over.
pub(super) fn open() -> anyhow::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(DEVICE, flags, Mode::empty()).context(
        "cannot open /dev/net/tun; load the module (`modprobe tun`) or give the container the device",
    )?;
    attach(&file).context("cannot make a TUN interface; that takes the capability NET_ADMIN")?;
    Ok(file)
}

#[expect(unsafe_code, reason = "no safe wrapper of TUNSETIFF exists that is smaller than this call")]
fn attach(file: &OwnedFd) -> rustix::io::Result<()> {
    let mut request = Request { name: *INTERFACE_NAME, flags: IFF_TUN | IFF_NO_PI, rest: [0; 22] };
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq` (linux/if.h), which `Request` mirrors: 16 bytes of name, a
    // union of 24 bytes of which it uses the first two as flags; any bytes are valid in every field. `request` is
    // borrowed mutably for the whole call, and the kernel keeps no pointer to it. The opcode's size names an `int`
    // for historical reasons (linux/if_tun.h); the kernel copies a `struct ifreq` all the same.
    unsafe { ioctl(file, Updater::<TUNSETIFF, Request>::new(&mut request)) }
}

/// `struct ifreq` of 64-bit Linux, which is the largest: elsewhere the kernel uses a part of it.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// Of every host: namespaces keep them apart.
pub(super) const INTERFACE: &str = "lab0";
const INTERFACE_NAME: &[u8; 16] = b"lab0\0\0\0\0\0\0\0\0\0\0\0\0";
const DEVICE: &str = "/dev/net/tun";
const TUNSETIFF: Opcode = opcode::write::<i32>(b'T', 202);
const IFF_TUN: u16 = 0x0001;
const IFF_NO_PI: u16 = 0x1000;
