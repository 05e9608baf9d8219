//! Users by name, from `/etc/passwd`.
//!
//! Only that file is read: asking the name service would load its modules into the one process that must never crash. Users of a
//! directory service are therefore unknown here.

use std::{fs, io, path::PathBuf};

/// Why a replica can't run as the user it is told to.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The list of users can't be read.
    #[error("cannot read /etc/passwd")]
    Read(#[source] io::Error),
    /// No such user.
    #[error("there is no user {0:?} in /etc/passwd")]
    Unknown(String),
    /// Only root may become someone else.
    #[error("running as user {0:?} needs a daemon that runs as root")]
    NotRoot(String),
}

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: PathBuf,
}

/// Returns the user to switch to in order to run as `name`; none when the daemon runs as that user already.
pub(crate) fn switch_to(name: &str) -> Result<Option<User>, UserError> {
    let passwd = fs::read_to_string("/etc/passwd").map_err(UserError::Read)?;
    decide(name, &passwd, rustix::process::geteuid().as_raw())
}

fn decide(name: &str, passwd: &str, daemon_uid: u32) -> Result<Option<User>, UserError> {
    let user = passwd
        .lines()
        .filter_map(parse)
        .find(|user| user.name == name)
        .ok_or_else(|| UserError::Unknown(name.to_owned()))?;
    if user.uid == daemon_uid {
        return Ok(None);
    }
    if daemon_uid != 0 {
        return Err(UserError::NotRoot(name.to_owned()));
    }
    Ok(Some(user))
}

fn parse(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let home = fields.nth(1)?.into();
    Some(User {
        name,
        uid,
        gid,
        home,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\n# broken\nwww:x:33:34:www:/var/www:/bin/false\n";

    #[test]
    fn root_becomes_anyone_known() {
        let www = User {
            name: "www".into(),
            uid: 33,
            gid: 34,
            home: "/var/www".into(),
        };
        assert_eq!(decide("www", PASSWD, 0).unwrap(), Some(www));
        assert!(
            matches!(decide("ghost", PASSWD, 0), Err(UserError::Unknown(name)) if name == "ghost")
        );
    }

    #[test]
    fn others_stay_who_they_are() {
        assert_eq!(decide("www", PASSWD, 33).unwrap(), None);
        assert!(matches!(
            decide("root", PASSWD, 33),
            Err(UserError::NotRoot(_))
        ));
    }
}
