//! A PostgreSQL of its own for a test: from Debian's package, on loopback, gone with the test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const USER: &str = "voice";
/// It has to be written otherwise in an address.
pub(crate) const PASSWORD: &str = "p@ss/word";
/// Set by `cargo xtask test`: then it fails where there is none.
const REQUIRED: &str = "VOICE_BOT_POSTGRES";

/// A running server.
pub(crate) struct Postgres {
    server: Child,
    port: u16,
    bin: PathBuf,
    _folder: TempDir,
}

impl Postgres {
    /// Starts one; none where the package is not installed.
    pub(crate) fn start() -> Option<Self> {
        let Some(bin) = programs() else {
            assert!(std::env::var_os(REQUIRED).is_none(), "install Debian's package postgresql");
            eprintln!("LEFT OUT: there is no PostgreSQL here; install Debian's package postgresql");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let (data, secret) = (folder.path().join("data"), folder.path().join("password"));
        std::fs::write(&secret, PASSWORD).unwrap();
        if is_root() {
            run(Command::new("chown").arg("-R").arg("nobody").arg(folder.path()));
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut make = as_nobody(&bin.join("initdb"));
        make.args(["--no-sync", "--auth=scram-sha-256", "--encoding=UTF8", "--username", USER]);
        make.arg("--locale=C.UTF-8").arg("--pwfile").arg(&secret).arg("-D").arg(&data);
        run(make.current_dir(folder.path()));
        let mut server = as_nobody(&bin.join("postgres"));
        server.arg("-D").arg(&data).arg("-p").arg(port.to_string());
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"] {
            server.arg("-c").arg(setting);
        }
        server.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = Self { server: server.spawn().unwrap(), port, bin, _folder: folder };
        started.wait();
        Some(started)
    }

    /// The address of a new, empty database, without a password.
    pub(crate) fn database(&self, name: &str) -> String {
        let outcome = self.client("createdb").arg(name).output().unwrap();
        assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));
        format!("postgres://{USER}@127.0.0.1:{}/{name}", self.port)
    }

    fn client(&self, program: &str) -> Command {
        let mut client = Command::new(self.bin.join(program));
        client.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", USER]);
        client.env("PGPASSWORD", PASSWORD).stdout(Stdio::piped());
        client
    }

    fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(30);
        while !self.client("pg_isready").output().unwrap().status.success() {
            assert!(Instant::now() < until, "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Postgres {
    /// By its number, and at once: nothing of it is needed any more.
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
        // Its children go when they notice; the folder goes with the test.
    }
}

/// Where the programs of the newest version are.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let bins = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    bins.filter(|bin| bin.join("initdb").exists()).max()
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

/// PostgreSQL does not run as root.
fn as_nobody(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(program);
    command
}

fn run(command: &mut Command) {
    let outcome = command.output().unwrap();
    assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));
}
