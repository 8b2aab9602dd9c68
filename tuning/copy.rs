//! The least a copy of a blob costs on this machine: one process sends a file by
//! `sendfile`, another one receives it, hashes it with SHA-256, writes it and syncs it.
//! Nothing else: no checksums of parts, no encryption, no other work in between.
//!
//! What replication between nodes takes is held against this.

#![expect(
    clippy::disallowed_methods,
    reason = "a process with blocking calls and clocks of its own; the rules protect shards"
)]
#![expect(clippy::print_stdout, reason = "the result goes to whoever called")]

use clap::Parser;
use rustix::fs::{Advice, fadvise, sendfile};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes received, hashed and written at a time: as an upload's largest buffer.
const PIECE_BYTES: usize = 512 << 10;
/// One mebibyte, by which the report counts.
const MIB_BYTES: u64 = 1 << 20;

/// Copies files between two processes and prints one line of JSON for each.
#[derive(Parser)]
struct Arguments {
    /// Where the files are made.
    #[arg(long)]
    directory: PathBuf,
    /// Size of a file.
    #[arg(long, default_value_t = 1024)]
    mib: u64,
    /// How often.
    #[arg(long, default_value_t = 3)]
    count: u64,
    /// Sends out of the page cache; else the file is read from the disk.
    #[arg(long)]
    warm: bool,
    /// What the sending process is given.
    #[arg(long, hide = true)]
    send_to: Option<String>,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let (source, target) = (
        arguments.directory.join("source"),
        arguments.directory.join("target"),
    );
    if let Some(address) = &arguments.send_to {
        return send(&source, address);
    }
    for number in 0..arguments.count {
        make(&source, arguments.mib, number, arguments.warm)?;
        let (elapsed, own, other) = copy(&arguments, &target)?;
        let mib_per_second =
            f64::from(u32::try_from(arguments.mib).unwrap_or(u32::MAX)) / elapsed.as_secs_f64();
        println!(
            "{{\"seconds\":{:.3},\"mib_per_second\":{mib_per_second:.0},\"sender_cpu_seconds\":{other},\"receiver_cpu_seconds\":{:.3}}}",
            elapsed.as_secs_f64(),
            own.as_secs_f64(),
        );
    }
    std::fs::remove_file(source)?;
    std::fs::remove_file(target)
}

/// Makes a file that is on the disk, and in the page cache only when it is `warm`.
fn make(path: &Path, mib: u64, seed: u64, is_warm: bool) -> io::Result<()> {
    let mut file = File::create(path)?;
    let mut piece = vec![0_u8; PIECE_BYTES];
    let mut state = seed;
    for _ in 0..mib * MIB_BYTES / PIECE_BYTES as u64 {
        for word in piece.chunks_mut(8) {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(99);
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    if !is_warm {
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

/// Receives one file from a process of its own; says how long that took, and the
/// processor time of both.
fn copy(arguments: &Arguments, target: &Path) -> io::Result<(Duration, Duration, String)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sender = Command::new(std::env::current_exe()?)
        .arg("--directory")
        .arg(&arguments.directory)
        .args(["--send-to", &listener.local_addr()?.to_string()])
        .stdout(Stdio::piped())
        .spawn()?;
    let (mut stream, _) = listener.accept()?;
    let (began, cpu) = (Instant::now(), cpu_time()?);
    receive(&mut stream, target)?;
    let (elapsed, own) = (began.elapsed(), cpu_time()?.saturating_sub(cpu));
    let mut said = String::new();
    let output = sender.stdout.take();
    let output = output.ok_or_else(|| io::Error::other("the sender says nothing"))?;
    BufReader::new(output).read_line(&mut said)?;
    sender.wait()?;
    Ok((elapsed, own, said.trim().to_owned()))
}

/// Takes in one file: reads, hashes and writes it, as the copy being compared does.
fn receive(stream: &mut TcpStream, target: &Path) -> io::Result<()> {
    let mut file = File::create(target)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0_u8; PIECE_BYTES];
    loop {
        let mut filled = 0;
        while let Some(rest) = piece.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match stream.read(rest)? {
                0 => break,
                count => {
                    hash.update(rest.get(..count).unwrap_or_default());
                    filled += count;
                }
            }
        }
        let Some(bytes) = piece.get(..filled).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        file.write_all(bytes)?;
    }
    file.sync_data()?;
    std::hint::black_box(hash.finalize());
    Ok(())
}

/// The sending process: sends the file, and says what processor time that took.
fn send(source: &Path, address: &str) -> io::Result<()> {
    let file = File::open(source)?;
    let bytes = file.metadata()?.len();
    let stream = TcpStream::connect(address)?;
    let cpu = cpu_time()?;
    let mut offset = 0;
    while offset < bytes {
        let wanted = usize::try_from(bytes - offset).unwrap_or(PIECE_BYTES);
        if sendfile(&stream, &file, Some(&mut offset), wanted.min(PIECE_BYTES))? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let cpu = cpu_time()?.saturating_sub(cpu);
    println!("{:.3}", cpu.as_secs_f64());
    Ok(())
}

/// Processor time of this process so far.
fn cpu_time() -> io::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/schedstat")?;
    let nanoseconds = stat.split(' ').next().and_then(|first| first.parse().ok());
    let nanoseconds = nanoseconds.ok_or_else(|| io::Error::other("no processor time"))?;
    Ok(Duration::from_nanos(nanoseconds))
}
