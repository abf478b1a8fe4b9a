//! Where the audit log goes, beside standard output: a file, or a Unix socket.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread,
    time::Duration,
};

/// Lines that wait for who reads the socket; more are lost, which shows by their numbers.
const WAITING_LINES_LIMIT: usize = 8192;

/// How long one line may wait for a reader that is there and slow.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// How long to wait before the next line when nobody reads the socket.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Tries for one line.
const TRIES_LIMIT: u32 = 25;

/// A file that lines are appended to. It is opened for each line, so it may be renamed at any time, as log rotation does.
#[derive(Debug)]
pub struct AuditFile(PathBuf);

impl AuditFile {
    /// The file at this path, which is made when there is none.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = Self(path.to_owned());
        file.file()?;
        Ok(file)
    }

    fn file(&self) -> io::Result<File> {
        File::options().create(true).append(true).open(&self.0)
    }
}

impl Write for AuditFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A Unix datagram socket that each line is sent to as one datagram. A thread of its own sends, so a slow reader delays no stream.
#[derive(Debug)]
pub struct AuditSocket(SyncSender<Vec<u8>>);

impl AuditSocket {
    /// The socket at this path. Who reads it may come later and come again.
    ///
    /// # Errors
    ///
    /// When there can be no socket or no thread.
    pub fn open(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        let (sender, lines) = sync_channel(WAITING_LINES_LIMIT);
        let path = path.to_owned();
        thread::Builder::new()
            .name("audit socket".to_owned())
            .spawn(move || send_all(&socket, &path, &lines))?;
        Ok(Self(sender))
    }
}

impl Write for AuditSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.try_send(bytes.to_vec()) {
            Ok(()) => Ok(bytes.len()),
            Err(TrySendError::Full(_)) => Err(io::Error::other("too many lines wait for who reads the socket")),
            Err(TrySendError::Disconnected(_)) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn send_all(socket: &UnixDatagram, path: &Path, lines: &Receiver<Vec<u8>>) {
    while let Ok(line) = lines.recv() {
        let mut result = Ok(0);
        for _ in 0..TRIES_LIMIT {
            result = socket.send_to(&line, path);
            if result.is_ok() {
                break;
            }
            thread::sleep(RETRY_INTERVAL);
        }
        if let Err(error) = result {
            tracing::error!(%error, path = %path.display(), "a line of the audit log is lost: nobody reads the socket");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_be_renamed_at_any_time() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("audit.log"), folder.path().join("audit.log.1"));
        let mut file = AuditFile::open(&path).unwrap();
        file.write_all(b"1\n").unwrap();
        std::fs::rename(&path, &old).unwrap();
        file.write_all(b"2\n").unwrap();
        file.write_all(b"3\n").unwrap();
        assert_eq!(std::fs::read_to_string(old).unwrap(), "1\n");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "2\n3\n");
        assert!(AuditFile::open(&folder.path().join("none/audit.log")).is_err());
    }

    #[test]
    fn lines_wait_for_who_reads_the_socket_and_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.sock");
        let mut socket = AuditSocket::open(&path).unwrap();
        socket.write_all(b"1\n").unwrap();
        socket.write_all(b"2\n").unwrap();
        let reader = UnixDatagram::bind(&path).unwrap();
        reader.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut line = [0; 16];
        for expected in [b"1\n", b"2\n"] {
            let length = reader.recv(&mut line).unwrap();
            assert_eq!(&line[..length], expected);
        }
        let sent = (0..WAITING_LINES_LIMIT * 2)
            .filter(|_| socket.write_all(b"x\n").is_ok())
            .count();
        assert!(sent < WAITING_LINES_LIMIT * 2, "{sent}");
    }
}
