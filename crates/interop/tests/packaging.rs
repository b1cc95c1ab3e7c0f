//! What deploy/ holds: the Debian package is built, installed and started, the units are verified, and the manifests are read by a
//! parser and their commands run.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use quorate_client::{Client, Reply};
use quorate_interop::browser::http;
use quorate_interop::deployment::{Make, Process};
use quorate_interop::{PATIENCE, await_that, binary, free_port, peers};
use serde_json::Value;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").canonicalize().unwrap()
}

/// Runs a command to its end; what it printed.
fn must(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let [out, errors] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{errors}", output.status);
    out
}

fn is_there(program: &str, option: &str) -> bool {
    let there = Command::new(program).arg(option).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        println!("SKIPPED {program}: not installed");
    }
    there
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_debian_package_is_built_installed_and_started() {
    if !is_there("dpkg-deb", "--version") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let mut build = Command::new(deploy().join("debian/build.sh"));
    // The package of a debug build is large; nobody keeps it.
    must(build.arg(binary()).arg(place.path()).env("COMPRESSION", "none"));
    let packages: Vec<PathBuf> = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [package] = &packages[..] else { panic!("{packages:?}") };
    let said = must(Command::new("dpkg-deb").arg("--info").arg(package));
    for line in ["Package: quorate", "Version: ", "Depends: libc6", "conffiles", "postinst"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let root = place.path().join("root");
    must(Command::new("dpkg-deb").arg("-x").arg(package).arg(&root));
    let program = root.join("usr/bin/quorate");
    let scripts = place.path().join("scripts");
    must(Command::new("dpkg-deb").arg("-e").arg(package).arg(&scripts));
    for script in ["postinst", "prerm", "postrm"] {
        let script = scripts.join(script);
        assert_eq!(script.metadata().unwrap().permissions().mode() & 0o777, 0o755);
        must(Command::new("sh").arg("-n").arg(script));
    }
    // What comes with it is what its binary says.
    assert_eq!(
        must(Command::new(&program).args(["completions", "bash"])).trim_end(),
        std::fs::read_to_string(root.join("usr/share/bash-completion/completions/quorate")).unwrap().trim_end()
    );
    let page = must(Command::new("gzip").args(["-dc"]).arg(root.join("usr/share/man/man1/quorate-status.1.gz")));
    assert!(page.contains("quorate status \\-\\-json"), "{page}");
    must(Command::new("bash").arg("-n").arg(root.join("usr/share/bash-completion/completions/quorate")));
    verify_units(&root);
    install(package, &place.path().join("layer"));
}

/// Installs a package over what this machine has, in a layer of its own that goes with the process, starts the server as its
/// user, and when the server has ended takes the package away again.
const INSTALL: &str = r#"
set -e
mount -t tmpfs none "$2"
mkdir "$2/upper" "$2/work" "$2/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$2/upper,workdir=$2/work" "$2/root"
echo layered
cd "$2/root"
mount --bind /dev dev
cp "$1" quorate.deb
chroot . dpkg --install /quorate.deb
echo installed
chroot . setpriv --reuid quorate --regid quorate --clear-groups \
    quorate server /etc/quorate/main.conf --dir /var/lib/quorate --port "$3" --metrics-port "$4"
chroot . dpkg --purge quorate
[ ! -e usr/bin/quorate ] && [ ! -e etc/quorate ] && [ -s var/lib/quorate/dump.rdb ]
echo purged
"#;

fn install(package: &Path, layer: &Path) {
    if !["unshare", "setpriv", "adduser"].iter().all(|program| is_there(program, "--version")) {
        return;
    }
    std::fs::create_dir(layer).unwrap();
    let [port, metrics] = [free_port(), free_port()].map(|port| port.to_string());
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", INSTALL, "sh"]).args([package, layer]).args([&port, &metrics]);
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    let address = ([127, 0, 0, 1], port.parse().unwrap()).into();
    await_that("the installed server answers, or it can't be installed", || {
        let ask = |mut client: Client| client.call(&["SET", "key", "value"]).ok();
        Client::connect(address, PATIENCE).ok().and_then(ask) == Some(Reply::Simple(b"OK".to_vec()))
            || running.0.try_wait().unwrap().is_some()
    });
    if let Ok(mut client) = Client::connect(address, PATIENCE) {
        let reply = client.call(&["SHUTDOWN", "SAVE"]);
        assert!(reply.is_err(), "it goes on: {reply:?}");
    }
    await_that("the server is stopped, and the package taken away", || running.0.try_wait().unwrap().is_some());
    let status = running.0.wait().unwrap();
    let read = |mut from: Box<dyn std::io::Read>| {
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        text
    };
    let said = read(Box::new(running.0.stdout.take().unwrap()));
    let errors = read(Box::new(running.0.stderr.take().unwrap()));
    if !said.contains("layered") {
        return println!("SKIPPED dpkg --install: no layer can be made over this machine: {}", errors.trim());
    }
    assert!(status.success() && said.ends_with("purged\n"), "{status}: {said}\n{errors}");
}

/// The units, as they lie in the package.
fn verify_units(root: &Path) {
    if !is_there("systemd-analyze", "--version") {
        return;
    }
    // An environment that is not there yet is for the operator to make.
    std::fs::write(root.join("etc/quorate/dashboard.env"), "WATCH=127.0.0.1:6379\n").unwrap();
    for unit in ["quorate@main.service", "quorate-sentinel@main.service", "quorate-dashboard.service"] {
        let template = unit.replace("main", "");
        let mut verify = Command::new("systemd-analyze");
        verify.args(["verify", "--man=no", "--recursive-errors=no"]);
        let file = root.join("lib/systemd/system").join(&template);
        // It looks for the program where the unit says that it is.
        let text = std::fs::read_to_string(&file).unwrap();
        let here = text.replace("/usr/bin/quorate", root.join("usr/bin/quorate").to_str().unwrap());
        assert_ne!(text, here, "{unit} starts no program of the package");
        let copy = root.join(unit);
        std::fs::write(&copy, here).unwrap();
        let output = verify.arg(&copy).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && !said.contains(unit), "{unit}: {said}");
    }
}

/// All YAML below deploy/.
fn manifests() -> Option<Value> {
    let mut program = peers::python("yaml", "deploy_yaml.py")?;
    Some(serde_json::from_str(&must(program.arg(deploy()))).unwrap())
}

#[test]
fn pods_are_probed_and_hand_over_before_they_stop() {
    let Some(all) = manifests() else { return };
    let documents = all["kubernetes/quorate.yaml"].as_array().unwrap();
    let of_kind = |kind: &'static str| documents.iter().filter(move |document| document["kind"] == kind);
    let port = free_port();
    let primary = Process::server(Make::Ours, "repl-diskless-sync-delay 0");
    let replica = Process::server(Make::Ours, &format!("replicaof 127.0.0.1 {}\nmetrics-port {port}", primary.port()));
    await_that("the replica is linked", || replica.info("replication", "master_link_status").as_deref() == Some("up"));
    let mut probes = 0;
    for set in of_kind("StatefulSet") {
        let container = &set["spec"]["template"]["spec"]["containers"][0];
        let ports = container["ports"].as_array().unwrap();
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let get = &container[probe]["httpGet"];
            assert!(ports.iter().any(|port| port["name"] == get["port"]), "{probe}: {get}");
            let request =
                format!("GET {} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n", get["path"].as_str().unwrap());
            assert_eq!(http(port, &request).unwrap().0, 200, "{request}");
            probes += 1;
        }
        let labels = &set["spec"]["template"]["metadata"]["labels"];
        assert_eq!(&set["spec"]["selector"]["matchLabels"], labels);
        let service = of_kind("Service").find(|service| service["metadata"]["name"] == set["spec"]["serviceName"]);
        assert_eq!(&service.unwrap()["spec"]["selector"], labels);
        // The scripts are there, and are scripts.
        let script = container["command"][1].as_str().unwrap().rsplit('/').next().unwrap();
        let text = of_kind("ConfigMap").next().unwrap()["data"][script].as_str().unwrap();
        must(Command::new("sh").args(["-n", "-c", text]));
    }
    assert_eq!(probes, 6);
    let hook = of_kind("StatefulSet").find_map(|set| {
        set["spec"]["template"]["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"].as_array()
    });
    let words: Vec<String> = hook.unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect();
    assert_eq!(words[0], "quorate");
    let words = words[1..].iter().map(|word| word.replace("127.0.0.1:6379", &primary.address().to_string()));
    must(Command::new(binary()).args(words));
    assert_eq!(replica.info("replication", "role").as_deref(), Some("master"));
}

/// All Markdown below docs/, by its path there.
fn pages(folder: &Path, below: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name().into_string().unwrap())).unwrap();
        if path.is_dir() {
            pages(&path, &format!("{below}{name}/"), found);
        } else if name.ends_with(".md") {
            found.push(format!("{below}{name}"));
        }
    }
}

#[test]
fn every_page_of_docs_is_in_the_book() {
    let docs = deploy().join("../docs");
    let summary = std::fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let mut found = Vec::new();
    pages(&docs, "", &mut found);
    found.retain(|page| page != "SUMMARY.md");
    assert!(found.len() > 15, "{found:?}");
    for page in found {
        assert!(summary.contains(&format!("({page})")), "docs/SUMMARY.md leaves {page} out");
    }
}

#[test]
fn every_alert_says_what_to_do_about_it() {
    let Some(all) = manifests() else { return };
    let rules = all["prometheus/alerts.yml"][0]["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() > 10, "{rules:?}");
    let guide = std::fs::read_to_string(deploy().join("../docs/alerts.md")).unwrap();
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        for part in ["expr", "for", "labels/severity", "annotations/summary", "annotations/description"] {
            let value = rule.pointer(&format!("/{part}")).unwrap_or(&Value::Null);
            assert!(value.as_str().is_some_and(|text| !text.is_empty()), "{name} has no {part}");
        }
        assert!(guide.contains(&format!("\n## {name}\n")), "docs/alerts.md does not tell what to do about {name}");
    }
    let told = guide.lines().filter(|line| line.starts_with("## ")).count();
    assert_eq!(told, rules.len(), "docs/alerts.md tells of alerts that there are not");
    assert!(all["docker/compose.yml"][0]["services"].as_object().unwrap().len() == 7);
    assert_eq!(all["prometheus/prometheus.yml"][0]["rule_files"][0], "alerts.yml");
}
