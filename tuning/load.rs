//! A load generator for `tuning/compare`: pushes and pulls over plain HTTP/1.1
//! with one thread per connection, and says what it measured as one JSON line.
//!
//! It knows no server's insides: the same requests go to every registry.
//! Content is made, and its digest computed, outside the measured time.

#![expect(
    clippy::disallowed_methods,
    reason = "a client process with threads and clocks of its own; the rules protect shards"
)]
#![expect(clippy::print_stdout, reason = "the result goes to whoever called")]
#![expect(
    clippy::indexing_slicing,
    reason = "a wrong index ends a measurement, nothing else"
)]

#[path = "load/connection.rs"]
mod connection;
#[path = "load/work.rs"]
mod work;

use clap::{Parser, Subcommand};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};
use work::{Content, Tally};

/// Generates one kind of load and prints one line of JSON.
#[derive(Parser)]
struct Arguments {
    /// What to do.
    #[command(subcommand)]
    load: Load,
}

/// The kinds of load.
#[derive(Subcommand)]
enum Load {
    /// SHA-256 alone, over a buffer that stays in cache: the floor for a push.
    Hash {
        /// How much to hash.
        #[arg(long)]
        mib: u64,
    },
    /// Pushes blobs that were never there: POST, one PATCH, PUT.
    Push {
        /// Where to.
        #[command(flatten)]
        target: Target,
        /// Size of each blob.
        #[arg(long)]
        mib: u64,
        /// How many blobs on each connection.
        #[arg(long)]
        count: u64,
        /// Sends the body in chunks of unknown total, as docker does, instead
        /// of with its length.
        #[arg(long)]
        chunked: bool,
    },
    /// Pushes small blobs for a while on kept connections: POST, PUT.
    Small {
        /// Where to.
        #[command(flatten)]
        target: Target,
        /// Size of each blob.
        #[arg(long, default_value_t = 4096)]
        bytes: u64,
        /// For how long.
        #[arg(long)]
        seconds: u64,
    },
    /// Gets one path `count` times on each connection, or for `seconds`.
    Pull {
        /// Where from.
        #[command(flatten)]
        target: Target,
        /// What to get.
        #[arg(long)]
        path: String,
        /// At most so often on each connection.
        #[arg(long, default_value_t = u64::MAX)]
        count: u64,
        /// At most for so long.
        #[arg(long, default_value_t = 3600)]
        seconds: u64,
        /// A file with a token to show.
        #[arg(long)]
        token_file: Option<PathBuf>,
    },
    /// Pulls and pushes slowly, half of the connections each way.
    Slow {
        /// Where from and to.
        #[command(flatten)]
        target: Target,
        /// What to get.
        #[arg(long)]
        path: String,
        /// For how long.
        #[arg(long)]
        seconds: u64,
        /// Speed of each connection, per second.
        #[arg(long, default_value_t = 1024)]
        rate_kib: u64,
    },
}

/// A registry and how to meet it.
#[derive(clap::Args, Clone)]
struct Target {
    /// Address and port.
    #[arg(long)]
    address: SocketAddr,
    /// Repository for pushes.
    #[arg(long, default_value = "load/blobs")]
    repository: String,
    /// Connections at the same time.
    #[arg(long, default_value_t = 1)]
    connections: u64,
}

fn main() -> io::Result<()> {
    let begin = Instant::now();
    let tally = match Arguments::parse().load {
        Load::Hash { mib } => work::hash(mib)?,
        Load::Push {
            target,
            mib,
            count,
            chunked,
        } => each_connection(&target, move |target, seed| {
            let mut content = Content::new(mib << 20, seed);
            work::push(
                target.address,
                &target.repository,
                &mut content,
                count,
                chunked,
            )
        })?,
        Load::Small {
            target,
            bytes,
            seconds,
        } => each_connection(&target, move |target, seed| {
            let mut content = Content::new(bytes, seed);
            let until = begin + Duration::from_secs(seconds);
            work::push_small(target.address, &target.repository, &mut content, until)
        })?,
        Load::Pull {
            target,
            path,
            count,
            seconds,
            token_file,
        } => {
            let token = token_file.map(std::fs::read_to_string).transpose()?;
            let bearer = |token: String| format!("Authorization: Bearer {}\r\n", token.trim());
            let request = work::get(&path, &token.map(bearer).unwrap_or_default());
            each_connection(&target, move |target, _| {
                let until = begin + Duration::from_secs(seconds);
                work::pull(target.address, &request, count, until)
            })?
        }
        Load::Slow {
            target,
            path,
            seconds,
            rate_kib,
        } => each_connection(&target, move |target, seed| {
            let until = begin + Duration::from_secs(seconds);
            let pace = work::Pace::new(rate_kib << 10);
            if seed % 2 == 0 {
                work::pull_slowly(target.address, &path, until, &pace)
            } else {
                work::push_slowly(target.address, &target.repository, until, &pace)
            }
        })?,
    };
    println!("{}", tally.into_json(begin.elapsed()));
    Ok(())
}

/// Runs the work on as many threads as the target wants connections; the seed
/// given to each differs, also between two runs.
fn each_connection<W>(target: &Target, work: W) -> io::Result<Tally>
where
    W: Fn(&Target, u64) -> io::Result<Tally> + Clone + Send + 'static,
{
    let run = u64::from(std::process::id()) << 16;
    let threads: Vec<_> = (0..target.connections)
        .map(|index| {
            let (target, work) = (target.clone(), work.clone());
            thread::spawn(move || work(&target, run + index))
        })
        .collect();
    let mut sum = Tally::default();
    for thread in threads {
        let tally = thread
            .join()
            .map_err(|_| io::Error::other("a connection's thread panicked"))??;
        sum.add(tally);
    }
    Ok(sum)
}
