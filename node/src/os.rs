//! System calls that the standard library does not offer. The only `unsafe` of the workspace.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// Most buffers that one `pwritev` may take (`IOV_MAX` on Linux).
const IO_SLICES_MAX: usize = 1024;

/// Writes some of `parts` at `position` without moving the file's cursor; answers how many bytes were taken.
pub fn write_vectored_at(fd: BorrowedFd<'_>, parts: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
    let position = offset(position)?;
    let count = parts.len().min(IO_SLICES_MAX) as libc::c_int;
    // SAFETY: `IoSlice` is ABI-compatible with `iovec`; `parts` outlives the call and has at least `count` of them.
    check_size(|| unsafe { libc::pwritev(fd.as_raw_fd(), parts.as_ptr().cast(), count, position) })
}

/// Reads at `position` only what the page cache holds: `Ok(None)` means that the read would wait for the device, an
/// error of the kind [`io::ErrorKind::Unsupported`] that the file system cannot tell.
#[cfg(target_os = "linux")]
pub fn read_cached_at(fd: BorrowedFd<'_>, buf: &mut [u8], position: u64) -> io::Result<Option<usize>> {
    let position = offset(position)?;
    let part = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: the one `iovec` describes `buf`, which is exclusively borrowed for the call.
    let read = check_size(|| unsafe { libc::preadv2(fd.as_raw_fd(), &part, 1, position, libc::RWF_NOWAIT) });
    match read {
        Ok(n) => Ok(Some(n)),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => Err(io::ErrorKind::Unsupported.into()),
        Err(e) => Err(e),
    }
}

/// Reads at `position` only what the page cache holds. Elsewhere than on Linux nobody can tell.
#[cfg(not(target_os = "linux"))]
pub fn read_cached_at(_fd: BorrowedFd<'_>, _buf: &mut [u8], _position: u64) -> io::Result<Option<usize>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Reserves blocks for a range without changing the file's length.
#[cfg(target_os = "linux")]
pub fn preallocate(fd: BorrowedFd<'_>, from: u64, len: u64) -> io::Result<()> {
    let (from, len) = (offset(from)?, offset(len)?);
    // SAFETY: takes integers only.
    check(|| unsafe { libc::fallocate(fd.as_raw_fd(), libc::FALLOC_FL_KEEP_SIZE, from, len) })
}

/// Reserving without changing the length exists on Linux only.
#[cfg(not(target_os = "linux"))]
pub fn preallocate(_fd: BorrowedFd<'_>, _from: u64, _len: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Starts writing a range of dirty pages to the device and does not wait for it. No durability follows.
#[cfg(target_os = "linux")]
pub fn start_writeback(fd: BorrowedFd<'_>, from: u64, len: u64) -> io::Result<()> {
    let (from, len) = (offset(from)?, offset(len)?);
    // SAFETY: takes integers only.
    check(|| unsafe { libc::sync_file_range(fd.as_raw_fd(), from, len, libc::SYNC_FILE_RANGE_WRITE) })
}

/// Early writeback is a hint: elsewhere than on Linux it is nothing.
#[cfg(not(target_os = "linux"))]
pub fn start_writeback(_fd: BorrowedFd<'_>, _from: u64, _len: u64) -> io::Result<()> {
    Ok(())
}

/// Takes an exclusive advisory lock on an open file, or fails at once with `WouldBlock`. It ends with the descriptor.
pub fn lock_exclusive(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes integers only.
    check(|| unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) })
}

/// Total and available bytes of the file system that holds `path`.
pub fn space(path: &Path) -> io::Result<(u64, u64)> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` is NUL-terminated and `stat` has room for the answer.
    check(|| unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) })?;
    // SAFETY: the call succeeded, so it filled `stat`.
    let stat = unsafe { stat.assume_init() };
    #[allow(clippy::unnecessary_cast)] // the fields' widths differ between platforms
    Ok((
        (stat.f_blocks as u64).saturating_mul(stat.f_frsize as u64),
        (stat.f_bavail as u64).saturating_mul(stat.f_frsize as u64),
    ))
}

/// Raises the limit of open files to the most that this process may have, and answers what it is then.
pub fn raise_open_files_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` has room for the answer.
    check(|| unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    if limit.rlim_cur < limit.rlim_max {
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        // SAFETY: `raised` is a valid `rlimit`.
        if check(|| unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) }).is_ok() {
            limit = raised;
        }
    }
    #[allow(clippy::unnecessary_cast)] // `rlim_t` is not u64 everywhere
    Ok(limit.rlim_cur as u64)
}

/// What another process is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessSignal {
    /// SIGTERM: end in good order.
    Terminate,
    /// SIGKILL: end at once.
    Kill,
    /// SIGSTOP: do nothing until told to continue.
    Stop,
    /// SIGCONT: go on.
    Continue,
}

/// Tells another process something. Never a group of processes, nor all.
pub fn signal(pid: u32, signal: ProcessSignal) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).ok().filter(|pid| *pid > 1);
    let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
    let number = match signal {
        ProcessSignal::Terminate => libc::SIGTERM,
        ProcessSignal::Kill => libc::SIGKILL,
        ProcessSignal::Stop => libc::SIGSTOP,
        ProcessSignal::Continue => libc::SIGCONT,
    };
    // SAFETY: takes integers only.
    check(|| unsafe { libc::kill(pid, number) })
}

/// Processor time of this process so far, user and system.
pub fn cpu_time() -> io::Result<Duration> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: `usage` has room for the answer.
    check(|| unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) })?;
    // SAFETY: the call succeeded, so it filled `usage`.
    let usage = unsafe { usage.assume_init() };
    let part = |time: libc::timeval| {
        let seconds = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0));
        seconds + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
    };
    Ok(part(usage.ru_utime) + part(usage.ru_stime))
}

/// Copies from a file to a socket inside the kernel; answers how many bytes went. `WouldBlock` if the socket is full.
#[cfg(target_os = "linux")]
pub fn send_file(socket: BorrowedFd<'_>, file: BorrowedFd<'_>, from: u64, len: usize) -> io::Result<usize> {
    let mut from = offset(from)?;
    // SAFETY: `from` is a live variable that the call may advance.
    check_size(|| unsafe { libc::sendfile(socket.as_raw_fd(), file.as_raw_fd(), &mut from, len) })
}

/// Writes to a socket whose next bytes follow at once: the kernel waits for them before it sends a packet that is not
/// full. `WouldBlock` if the socket is full.
#[cfg(target_os = "linux")]
pub fn send_before_more(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_MORE | libc::MSG_NOSIGNAL;
    // SAFETY: `bytes` is live and has the length given.
    check_size(|| unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// Elsewhere than on Linux files are read and written.
#[cfg(not(target_os = "linux"))]
pub fn send_file(
    _socket: BorrowedFd<'_>,
    _file: BorrowedFd<'_>,
    _from: u64,
    _len: usize,
) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Elsewhere than on Linux nothing is told of what follows.
#[cfg(not(target_os = "linux"))]
pub fn send_before_more(_socket: BorrowedFd<'_>, _bytes: &[u8]) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

fn offset(value: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(value).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn check(mut call: impl FnMut() -> libc::c_int) -> io::Result<()> {
    check_size(|| call() as isize).map(|_| ())
}

/// Repeats a call that a signal interrupted; turns −1 into the thread's error.
fn check_size(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match usize::try_from(call()) {
            Ok(n) => return Ok(n),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}
