//! The socket's file: made so that only its owner may open it, and never taken from a daemon that lives.

use std::{
    fs::{self, File, Metadata, Permissions},
    io,
    os::{
        fd::AsFd,
        unix::{
            ffi::OsStrExt,
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tracing::{info, warn};

use crate::server::ServeError;

/// The longest path of a socket: `sockaddr_un` has 108 bytes with the zero at the end.
const PATH_BYTES_MAX: usize = 107;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: u32 = 128;

/// Read and write for the owner.
const MODE: u32 = 0o600;

/// How long a daemon may take to accept the connection that asks whether it lives. A kernel answers at once.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The file of a socket that is bound; dropping it removes the file.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode, so that the file of a later daemon is left alone.
    identity: (u64, u64),
}

/// Binds a socket at `path`. The file of a daemon that is gone is replaced.
pub(crate) async fn bind(path: &Path) -> Result<(UnixListener, SocketFile), ServeError> {
    let bytes = path.as_os_str().as_bytes().len();
    if bytes > PATH_BYTES_MAX {
        return Err(ServeError::PathTooLong {
            path: path.to_owned(),
            bytes,
            bytes_max: PATH_BYTES_MAX,
        });
    }
    make_room(path).await?;
    let fail = |source| ServeError::BindSocket {
        path: path.to_owned(),
        source,
    };
    let listener = listen(path).map_err(fail)?;
    let identity = identity(&fs::symlink_metadata(path).map_err(fail)?);
    Ok((
        listener,
        SocketFile {
            path: path.to_owned(),
            identity,
        },
    ))
}

/// Removes what is left of a daemon that is gone; refuses to remove anything else.
async fn make_room(path: &Path) -> Result<(), ServeError> {
    let fail = |source| ServeError::BindSocket {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fail(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ServeError::NotASocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }
    match tokio::time::timeout(PROBE_TIMEOUT, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            info!(path = %path.display(), "Replacing the socket of a daemon that is gone");
            fs::remove_file(path).map_err(fail)
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A full queue (`WouldBlock`) has a listener behind it, and so has one that doesn't accept.
        Ok(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => Err(fail(error)),
        Ok(Ok(_) | Err(_)) | Err(_) => Err(ServeError::InUse {
            path: path.to_owned(),
        }),
    }
}

/// Binds with the mode set before the file exists, as Linux takes it from the socket, and again after, as other systems do not.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = UnixSocket::new_stream()?;
    let mode = Permissions::from_mode(MODE);
    let file = File::from(socket.as_fd().try_clone_to_owned()?);
    // Where this can't be done, the second call alone must do.
    file.set_permissions(mode.clone()).unwrap_or_default();
    socket.bind(path)?;
    fs::set_permissions(path, mode)?;
    socket.listen(BACKLOG)
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours =
            fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            warn!(path = %self.path.display(), %error, "The socket's file is left behind");
        }
    }
}
