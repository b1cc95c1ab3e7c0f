//! `backup`: a snapshot of each shard in a file, and beside them `nodes.json`, which tells whose they are. The files are named as
//! redis-cli names them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use quorate_tls::Connection;

use crate::Manner;
use crate::node::Credentials;
use crate::picture::{Member, Picture};
use crate::report::ranges;
use crate::screen::quoted;

/// How long a node may be silent while it prepares a snapshot: it sends a sign of life every few seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// The bytes that end a snapshot of which the length is not told.
const MARK: usize = 40;

/// See the module's text.
///
/// # Errors
/// A node does not answer, or a file can't be written.
pub(crate) fn run(picture: &Picture, place: &Path, manner: &Manner) -> Result<()> {
    let shards: Vec<(&Member, &Member)> = picture
        .primaries()
        .filter(|member| !member.told.slots.is_empty())
        // A replica has the same data, and more time.
        .map(|member| (member, picture.replicas(member.id()).next().unwrap_or(member)))
        .collect();
    for (primary, source) in &shards {
        println!(">>> Node {} is saved to {}, from {}", primary.address, file(primary), source.address);
    }
    if manner.dry_run {
        return Ok(());
    }
    fs::create_dir_all(place).with_context(|| format!("make {}", place.display()))?;
    for (primary, source) in &shards {
        let path = place.join(file(primary));
        let bytes = fetch(source.address, &manner.credentials, &path)?;
        println!("{}: {bytes} bytes", path.display());
    }
    let nodes: Vec<String> = picture.members.iter().map(describe).collect();
    fs::write(place.join("nodes.json"), format!("[\n{}\n]\n", nodes.join(",\n")))?;
    println!("[OK] Backup created into: {}", place.display());
    Ok(())
}

fn file(member: &Member) -> String {
    format!("redis-node-{}-{}-{}.rdb", member.address.ip(), member.address.port(), member.id())
}

fn describe(member: &Member) -> String {
    let follows = member.told.primary.map_or("null".to_owned(), |primary| quoted(&primary.to_string()));
    format!(
        "  {{\"name\":{},\"host\":{},\"port\":{},\"replicate\":{follows},\"slots\":{},\"slots_count\":{}}}",
        quoted(&member.id().to_string()),
        quoted(&member.address.ip().to_string()),
        member.address.port(),
        quoted(&ranges(&member.told.slots)),
        member.told.slots.len(),
    )
}

/// Lets a node send a snapshot as it would to a replica; its length.
fn fetch(address: SocketAddr, credentials: &Credentials, path: &Path) -> Result<u64> {
    let stream =
        TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("can't connect to {address}"))?;
    let tls = credentials.encryption.outgoing()?;
    let mut reader = BufReader::new(Connection::over(stream, tls.as_ref(), PATIENCE)?);
    let ask = |reader: &mut BufReader<Connection>, words: &[&str]| -> Result<()> {
        let mut request = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| request += &format!("${}\r\n{word}\r\n", word.len()));
        Ok(reader.get_mut().write_all(request.as_bytes())?)
    };
    if let Some(password) = credentials.secret() {
        let user = credentials.user.as_deref();
        let words: Vec<&str> = ["AUTH"].into_iter().chain(user).chain([password.as_str()]).collect();
        ask(&mut reader, &words)?;
        let line = read_line(&mut reader)?;
        ensure!(line == "+OK", "{address} answers AUTH: {line}");
    }
    ask(&mut reader, &["SYNC"])?;
    // Empty lines are signs of life.
    let header = loop {
        let line = read_line(&mut reader).with_context(|| format!("{address} sends no snapshot"))?;
        if !line.is_empty() {
            break line;
        }
    };
    let length = header.strip_prefix('$').with_context(|| format!("{address} answers SYNC: {header}"))?;
    let mut out = File::create(path).with_context(|| format!("make {}", path.display()))?;
    let written = match length.strip_prefix("EOF:") {
        Some(mark) => copy_to_mark(&mut reader, mark.as_bytes(), &mut out)?,
        None => {
            let length: u64 = length.parse().with_context(|| format!("{address} answers SYNC: {header}"))?;
            let copied = std::io::copy(&mut reader.by_ref().take(length), &mut out)?;
            ensure!(copied == length, "{address} has sent {copied} bytes of {length}");
            copied
        }
    };
    out.sync_all()?;
    Ok(written)
}

fn read_line(reader: &mut impl BufRead) -> Result<String> {
    let mut line = Vec::new();
    reader.take(1024).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        bail!("the connection was closed");
    }
    Ok(String::from_utf8_lossy(line.trim_ascii_end()).into_owned())
}

/// Copies up to the mark, which is not copied; how much.
fn copy_to_mark(reader: &mut impl BufRead, mark: &[u8], out: &mut impl Write) -> Result<u64> {
    ensure!(mark.len() == MARK, "a mark has {MARK} bytes");
    let (mut held, mut written) = (Vec::new(), 0);
    loop {
        let chunk = reader.fill_buf()?;
        ensure!(!chunk.is_empty(), "the connection was closed within the snapshot");
        let length = chunk.len();
        held.extend_from_slice(chunk);
        reader.consume(length);
        // Nothing follows the mark: whoever asked for a snapshot alone is sent its stream only later.
        let end = held.windows(MARK).position(|window| window == mark);
        let sure = end.unwrap_or(held.len().saturating_sub(MARK - 1));
        out.write_all(&held[..sure])?;
        written += sure as u64;
        held.drain(..sure);
        if end.is_some() {
            return Ok(written);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_of_unknown_length_ends_before_its_mark() {
        let mark = [b'm'; MARK];
        let mut sent = b"REDIS0010mmm".to_vec();
        sent.extend(mark);
        sent.extend(b"*1\r\n");
        // However small the pieces are in which it comes.
        for capacity in [1, 7, 64, 4096] {
            let mut out = Vec::new();
            let written = copy_to_mark(&mut BufReader::with_capacity(capacity, &sent[..]), &mark, &mut out);
            assert_eq!((written.unwrap(), out.as_slice()), (12 - 3, &b"REDIS0010"[..]), "{capacity}");
        }
        let cut_off = &sent[..20];
        assert!(copy_to_mark(&mut BufReader::new(cut_off), &mark, &mut Vec::new()).is_err());
    }
}
