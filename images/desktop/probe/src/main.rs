//! Says whether the desktop of this container answers: it connects to its VNC server as a viewer does, with the password,
//! and reads how large the screen is. Kubernetes and container engines run it as a probe.
//!
//! It goes all the way because half a handshake would be worse than none: Xvnc counts a connection that does not
//! authenticate as a wrong password, and after five shuts the address out (`TigerVNC` common/rfb/Blacklist.cxx).

use std::{
    env, fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use novasphere_wire::rfb::{
    security::vnc_auth::VncPassword,
    upstream::{Authentication, CLIENT_INIT_SHARED, ClientHandshake, HandshakeError, Progress},
};

/// Where Xvnc of a desktop listens.
const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 5901);

/// Where the password is unless `VNC_PASSWORD_FILE` says otherwise.
const PASSWORD_FILE: &str = "/run/novasphere/credentials/vnc-password";

/// Bounds each connect, read and write. A server of the same container answers in milliseconds.
const TIMEOUT: Duration = Duration::from_secs(2);

/// `ServerInit` up to the length of the desktop's name: width, height and the pixel format (rfbproto 7.3.2).
const SERVER_INIT: usize = 20;

#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error("cannot read the password in {path}; mount the file, or set VNC_PASSWORD_FILE: {source}")]
    Password { path: PathBuf, source: io::Error },
    #[error("no VNC server at {address}: {source}")]
    Connect { address: SocketAddr, source: io::Error },
    #[error("the VNC server does not go on: {0}")]
    Stream(#[from] io::Error),
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("the VNC server has a screen of {width} by {height} pixels")]
    NoScreen { width: u16, height: u16 },
}

fn main() -> ExitCode {
    let path = env::var_os("VNC_PASSWORD_FILE").unwrap_or_else(|| PASSWORD_FILE.into());
    match probe(SocketAddr::from(SERVER), Path::new(&path)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("novasphere-probe: {error}");
            ExitCode::FAILURE
        }
    }
}

fn probe(address: SocketAddr, password_file: &Path) -> Result<(), ProbeError> {
    let password = fs::read(password_file).map_err(|source| ProbeError::Password {
        path: password_file.to_owned(),
        source,
    })?;
    let connect = |source| ProbeError::Connect { address, source };
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).map_err(connect)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    look(&mut stream, VncPassword::new(first_line(&password)))
}

/// The password without the newline that an editor leaves, as `tigervncpasswd` reads it.
fn first_line(password: &[u8]) -> &[u8] {
    password.split(|&byte| byte == b'\n').next().unwrap_or_default()
}

/// Authenticates and reads the size of the screen.
fn look(stream: &mut (impl Read + Write), password: VncPassword) -> Result<(), ProbeError> {
    let mut handshake = ClientHandshake::new(Authentication::Password(password));
    loop {
        let mut input = vec![0; handshake.want()];
        stream.read_exact(&mut input)?;
        let mut output = Vec::new();
        let progress = handshake.receive(&input, &mut output)?;
        stream.write_all(&output)?;
        if progress == Progress::Done {
            break;
        }
    }
    stream.write_all(&CLIENT_INIT_SHARED)?;
    let mut init = [0; SERVER_INIT];
    stream.read_exact(&mut init)?;
    let [w1, w2, h1, h2, ..] = init;
    let (width, height) = (u16::from_be_bytes([w1, w2]), u16::from_be_bytes([h1, h2]));
    if width == 0 || height == 0 {
        return Err(ProbeError::NoScreen { width, height });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        thread::{self, JoinHandle},
    };

    use super::*;

    const HELLO: &[u8] = b"RFB 003.008\n\x01\x020123456789abcdef";

    /// A server that says this, and what it was told when the client left.
    fn server(says: Vec<u8>) -> (SocketAddr, JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let heard = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // The probe may leave before it has heard all.
            let _ = stream.write_all(&says);
            let mut heard = Vec::new();
            let _ = stream.read_to_end(&mut heard);
            heard
        });
        (address, heard)
    }

    fn run(rest: &[u8]) -> (Result<(), ProbeError>, Vec<u8>) {
        let password = tempfile::NamedTempFile::new().unwrap();
        fs::write(password.path(), "password\n").unwrap();
        let (address, heard) = server([HELLO, rest].concat());
        let result = probe(address, password.path());
        (result, heard.join().unwrap())
    }

    fn init(width: u16, height: u16) -> Vec<u8> {
        let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
        [&[0; 4][..], &size, &[0; 16]].concat()
    }

    #[test]
    fn a_screen_is_good() {
        let (result, heard) = run(&init(1280, 800));
        assert!(result.is_ok(), "{result:?}");
        // Version, type, the answer for "password" without the newline, and shared.
        assert_eq!(heard.len(), 12 + 1 + 16 + 1);
        assert_eq!(heard.get(13..17), Some(&[0x56, 0x45, 0xab, 0xeb][..]));
    }

    #[test]
    fn a_refusal_and_an_empty_screen_are_not() {
        let (result, _) = run(b"\0\0\0\x01\0\0\0\x02no");
        assert!(matches!(result, Err(ProbeError::Handshake(_))), "{result:?}");
        let (result, _) = run(&init(0, 800));
        assert!(matches!(result, Err(ProbeError::NoScreen { .. })), "{result:?}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap();
        let error = probe(nobody, Path::new("/does/not/exist")).unwrap_err();
        assert!(error.to_string().contains("/does/not/exist"), "{error}");
        let password = tempfile::NamedTempFile::new().unwrap();
        let error = probe(nobody, password.path()).unwrap_err();
        assert!(matches!(error, ProbeError::Connect { .. }), "{error}");
    }
}
