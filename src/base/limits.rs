//! Every bound of the project, with its unit and its reason.
//!
//! A bound that an operator may move is a default here and a key in the
//! configuration; all others are fixed.

use std::time::Duration;

use super::units::{GIB_BYTES, KIB, MIB, SECTOR_BYTES};

// ---- bytes on the move ------------------------------------------------

/// Granularity of the per-blob CRC32 list and of ranged transfers between nodes.
/// 4 bytes of metadata per mebibyte keep the list of a 1 TiB blob at 4 MiB.
pub const EXTENT_BYTES: u32 = MIB;
/// Largest single disk read, disk write and socket send: 512 KiB, four deep, is
/// where throughput stops growing and is safe on every kernel tried.
pub const MOVE_BYTES_MAX: u32 = 512 * KIB;
/// First buffer of an upload; it grows to `MOVE_BYTES_MAX` only while the client
/// fills it faster than the disk takes it, so that a slow client pins little.
pub const MOVE_BYTES_MIN: u32 = 64 * KIB;
/// Direct reads or writes in flight for one request.
pub const IN_FLIGHT_MOVES_MAX: usize = 4;
/// The same for bytes from another node: a pool of the default size lets several of
/// them go on and leaves most of itself to clients.
pub const IMPORT_MOVES_MAX: usize = 2;
/// A blob from another node goes on after a restart at a whole number of these: a
/// record of some hundred bytes is written for each, after the writes under way.
pub const IMPORT_KEPT_BYTES: u64 = 16 * MIB as u64;
/// Bytes hashed before the shard looks for other work: about 33 µs.
pub const HASH_STEP_BYTES: u32 = 64 * KIB;
/// Bytes sent by one `sendfile` before the shard looks for other work.
pub const SEND_STEP_BYTES: u32 = 256 * KIB;
/// Pooled buffer memory of one shard: 64 slow uploads at `MOVE_BYTES_MIN` and a
/// few fast ones fit, two shards stay under the default memlock of 8 MiB each
/// ring registration apart.
pub const POOL_BYTES_DEFAULT: u32 = 16 * MIB;
/// A blob up to this size travels in its journal entry and lives in the state,
/// so that pushing it costs one shared sync instead of three of its own.
pub const INLINE_BLOB_BYTES_MAX: u32 = 16 * KIB;
/// Largest blob: its checksum list must fit a journal entry.
pub const BLOB_BYTES_MAX: u64 = 1024 * GIB_BYTES;
/// Largest manifest; larger ones are answered 413. Source: distribution-spec,
/// "Pushing Manifests", which asks for at least 4 MiB.
pub const MANIFEST_BYTES_MAX: u32 = 4 * MIB;
/// Largest journal entry: a manifest, what it names, and its referrer descriptor, which
/// repeats its annotations; or the checksum list of the largest blob.
pub const ENTRY_BYTES_MAX: u32 = 9 * MIB;

const _: () = assert!(
    EXTENT_BYTES.is_multiple_of(SECTOR_BYTES),
    "extents start on sectors"
);
const _: () = assert!(
    EXTENT_BYTES.is_multiple_of(MOVE_BYTES_MAX),
    "extents are whole moves"
);
const _: () = assert!(
    MOVE_BYTES_MIN.is_multiple_of(SECTOR_BYTES),
    "moves are whole sectors"
);
const _: () = assert!(
    BLOB_BYTES_MAX / EXTENT_BYTES as u64 * 4 <= MANIFEST_BYTES_MAX as u64,
    "the checksum list of the largest blob fits an entry"
);
const _: () = assert!(
    2 * MANIFEST_BYTES_MAX < ENTRY_BYTES_MAX,
    "a manifest and its descriptor fit an entry"
);

// ---- HTTP -------------------------------------------------------------

/// Longest request line, answered 414 beyond.
pub const REQUEST_LINE_BYTES_MAX: u32 = 8 * KIB;
/// Longest request head, answered 431 beyond.
pub const HEAD_BYTES_MAX: u32 = 32 * KIB;
/// Most header lines in one head, answered 431 beyond.
pub const HEADERS_MAX: usize = 64;
/// Chunk extensions summed over one message.
pub const CHUNK_EXTENSION_BYTES_MAX: u32 = 16 * KIB;
/// Trailer section of a chunked body, answered 431 beyond.
pub const TRAILER_BYTES_MAX: u32 = 16 * KIB;
/// Unread body drained after an early answer before the connection is closed instead.
pub const DRAIN_BYTES_MAX: u32 = 64 * KIB;
/// A head must be complete within this time, answered 408 beyond.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Window over which a body must average `BODY_RATE_BYTES_MIN` per second.
pub const BODY_WINDOW: Duration = Duration::from_secs(30);
/// Slowest body, in bytes per second, answered 408 below.
pub const BODY_RATE_BYTES_MIN: u64 = 1024;
/// A reader that takes nothing for this long is closed.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A reader that takes nothing for this long gives its pooled buffer back.
pub const WRITE_STALL_GIVE_BACK: Duration = Duration::from_millis(100);
/// Idle keep-alive connections are closed after this.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// At shutdown, a connection without a request is kept for this: its client may be
/// about to send one, and is told with the answer that it is the last.
pub const PARTING_TIMEOUT: Duration = Duration::from_secs(1);
/// At shutdown, a listener is closed when nobody has come for this long: a connection
/// that the kernel has just taken would be lost with it.
pub const LAST_CALL_TIMEOUT: Duration = Duration::from_millis(5);
/// Connections taken after shutdown, at most, however fast they come.
pub const LAST_CALL_CONNECTIONS_MAX: usize = 256;
/// Connections of operators, apart from those of clients: probes and scrapers of a few
/// supervisors, however many clients there are; who is idle gives way.
pub const OPERATOR_CONNECTIONS_MAX: usize = 64;
/// Connections of operators on their way through a TLS handshake; at the bound the oldest
/// gives way to the newest. Half of all: whoever does not get through keeps nobody out.
pub const OPERATOR_ENTRANTS_MAX: usize = OPERATOR_CONNECTIONS_MAX / 2;
/// After a last answer, bytes that still come are dropped for this long, so that
/// a reset does not overtake the answer.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes so dropped, at most.
pub const LINGER_BYTES_MAX: u64 = 4 * MIB as u64;
/// Largest single receive of a chunked body: what it takes of the next request is
/// kept per connection, and the chunks are unwrapped while they are in the cache.
pub const CHUNKED_RECEIVE_BYTES_MAX: u32 = 128 * KIB;
/// Longest request id taken over from a client.
pub const REQUEST_ID_BYTES_MAX: usize = 64;
/// Connections of one shard on their way through a TLS handshake, or before the header
/// of a proxy. At the bound the oldest gives way to the newest: a handshake takes
/// milliseconds, and whoever only holds a place loses it. Each takes about 20 KiB.
pub const SHARD_ENTRANTS_MAX: usize = 512;
/// Connections one shard holds; further ones take the place of the one that has been
/// without a request for longest, or are closed at accept.
pub const SHARD_CONNECTIONS_MAX: usize = 8192;

// ---- OCI --------------------------------------------------------------

/// Longest repository name. Source: common client limit for host and name.
pub const REPOSITORY_BYTES_MAX: usize = 255;
/// Longest tag. Source: distribution-spec, `<reference>`.
pub const TAG_BYTES_MAX: usize = 128;
/// Deepest nesting of a manifest's JSON.
pub const MANIFEST_LEVELS_MAX: usize = 32;
/// Most `tag=` parameters of one manifest push; the spec asks for at least 10.
pub const PUSH_TAGS_MAX: usize = 100;
/// Most entries in one page of a list; larger `n` are clamped.
pub const PAGE_ENTRIES_MAX: usize = 1000;
/// Body bytes of one page of referrers; a page ends before the descriptor that would pass it.
pub const REFERRERS_PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Referrers looked at for one page; a filter that matches little ends a page early.
pub const SCANNED_REFERRERS_MAX: usize = 10_000;
/// Places where a tag pointed before that are remembered with it.
pub const TAG_PLACES_MAX: usize = 10;
/// Journal indexes for which events are kept: some minutes of the busiest
/// registry, months of a usual one.
pub const EVENT_INDEXES_MAX: u64 = 1 << 17;
/// A lease keeps a fresh blob from collection at least this long.
pub const LEASE_MS_MIN: u64 = 60 * 60 * 1000;
/// Upload sessions idle for this long are purged.
pub const UPLOAD_IDLE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

// ---- access -----------------------------------------------------------

/// Longest token that is looked at; a head holds one of this size.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Clocks of token servers and nodes may differ by this.
pub const TOKEN_LEEWAY_SECONDS: u64 = 60;
/// Verified tokens that one shard remembers: more callers at once are none of a team.
pub const KEPT_TOKENS_MAX: usize = 4096;
/// Bytes of memory that they take, about, with what they say.
pub const KEPT_TOKEN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Longest user name.
pub const USERNAME_BYTES_MAX: usize = 255;
/// Longest password that is hashed.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// Threads that check passwords: they are to take time, and not the machine.
pub const LOGIN_THREADS: u32 = 2;
/// Logins that they check or that wait for them; further ones are answered 429. At a
/// tenth of a second each the last one waits three seconds.
pub const WAITING_LOGINS_MAX: usize = 64;
/// As many of those may be of one client, an IPv4 address or a /64 of IPv6: enough for
/// one that logs in on several connections, and no single one keeps the others out.
pub const CLIENT_LOGINS_MAX: usize = 4;
/// A wrong password is answered this much later: guessing is slow on one connection,
/// and the threads above bound it on many.
pub const LOGIN_FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// Wrong passwords from one address (IPv6: one /64) before further ones are answered
/// 429: more than people mistype behind one address in a moment.
pub const ADDRESS_LOGIN_FAILURES_MAX: u32 = 30;
/// After this an address may be wrong once more: 28,800 guesses a day.
pub const ADDRESS_LOGIN_FAILURE_PERIOD: Duration = Duration::from_secs(3);
/// The same for one user, from wherever: guessing from many addresses is slow, too.
pub const SUBJECT_LOGIN_FAILURES_MAX: u32 = 100;
/// After this anybody may be wrong about a user once more.
pub const SUBJECT_LOGIN_FAILURE_PERIOD: Duration = Duration::from_secs(1);
/// For so long an address where a user logged in is not held up by those who guess
/// that user's password elsewhere.
pub const KNOWN_ADDRESS_LIFE: Duration = Duration::from_secs(12 * 60 * 60);
/// Sets of seven in each table of request rates: 57,344 clients in 512 KiB. To keep all
/// of them in use takes as many requests as those clients may send together.
pub const RATE_SETS: usize = 8192;
/// Sets of seven in each table of uploads at a time: 14,336 clients in 128 KiB, more
/// than a node of two shards has connections.
pub const UPLOAD_SETS: usize = 2048;
/// Sets of seven in each table of wrong passwords, of which the threads that check them
/// let through some dozens a second: 3,584 clients in 32 KiB.
pub const LOGIN_FAILURE_SETS: usize = 512;
/// Proved logins that one shard remembers.
pub const KEPT_LOGINS_MAX: usize = 1024;
/// Scopes of one token; docker asks for two.
pub const TOKEN_SCOPES_MAX: usize = 64;

/// A form that asks for a token: a refresh token, and some scopes.
pub const TOKEN_FORM_BYTES_MAX: usize = 64 * 1024;

/// An issuer must have sent a document by then. The keys may take two of them.
pub const KEYS_FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest document of an issuer: 64 keys, each with a chain of certificates.
pub const KEY_SET_BYTES_MAX: u64 = 512 * 1024;
/// A request waits this long for the keys that its token needs: as long as fetching
/// them may take.
pub const KEYS_WAIT_MAX: Duration = Duration::from_secs(10);
/// Requests that wait for the keys of one issuer; further ones are answered 429.
pub const WAITING_FOR_KEYS_MAX: usize = 1024;
/// As many of those may be of one client, an IPv4 address or a /64 of IPv6: a dozen
/// machines behind one address that pull at once, and no single one keeps the others out.
pub const CLIENT_WAITING_FOR_KEYS_MAX: usize = 64;
/// An issuer that is down is asked again at least this often.
pub const KEYS_RETRY_MAX: Duration = Duration::from_secs(5 * 60);

// ---- journal ----------------------------------------------------------

/// Proposals waiting for the raft core; further ones are answered 429.
pub const WAITING_PROPOSALS_MAX: usize = 4096;
/// A write waits this long for a leader, and for its outcome.
pub const PROPOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// A read waits this long for a quorum that confirms it: longer than an election,
/// so that one is waited out, and answered 503 beyond.
pub const READ_INDEX_TIMEOUT: Duration = Duration::from_secs(5);

// ---- peers ------------------------------------------------------------

/// Largest payload of one frame between nodes: the largest journal entry, and room
/// for the entries that travel with it.
pub const PEER_PAYLOAD_BYTES_MAX: u32 = 16 * MIB;
/// Calls under way on one connection; further ones wait on the calling side and are
/// refused on the serving side, which a node that counts alike never sees.
pub const PEER_CALLS_MAX: usize = 1024;
/// Bytes of the calls, and of the answers, under way on one connection: a few of the
/// largest, or all of the usual ones.
pub const PEER_CALL_BYTES_MAX: u32 = 64 * MIB;
/// Connections at the peer port that have not said who they are; further ones wait
/// to be accepted.
pub const PEER_NEWCOMERS_MAX: usize = 256;
/// As many of those may be of one address, further ones are closed: as many as all shards
/// of a large node open at once when it starts, and no single machine keeps others out.
pub const PEER_ADDRESS_NEWCOMERS_MAX: usize = 128;
/// Connections of machines that join, which prove nothing first; further ones are closed,
/// and try again. They have no place among those above any more.
pub const PEER_JOINERS_MAX: usize = 32;
/// As many of those may be of one address.
pub const PEER_ADDRESS_JOINERS_MAX: usize = 16;
/// Largest payload of one frame of a machine that joins: it has proved nothing yet, and
/// its only call is a token, an address and a few numbers.
pub const PEER_JOIN_PAYLOAD_BYTES_MAX: u32 = 4 * KIB;
/// Answers that may wait for such a machine: it calls one at a time.
pub const PEER_JOIN_ANSWERS_MAX: usize = 4;
/// A connection to join ends after this, whatever happens on it: a proposal's time, and
/// the way there.
pub const PEER_JOIN_TIMEOUT: Duration = Duration::from_secs(12);
/// The first eight bytes of a connection must come within this time.
pub const PREAMBLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Both ends must have proved who they are within this time.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connecting to one address of a node. A node in the same network answers in
/// milliseconds; one that is cut off is given up before its first repeated packet
/// would double the wait.
pub const PEER_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A dialed node must have proved itself, and its name must have been resolved, within
/// this time: shorter than its own limit, so that a lost connection is soon made anew.
pub const PEER_DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the calling side of a connection asks whether the other is alive.
pub const PEER_PING_PERIOD: Duration = Duration::from_secs(1);
/// The calling side ends a connection on which nothing moved for so long.
pub const PEER_SILENCE_MAX: Duration = Duration::from_secs(5);
/// The serving side does, after a dozen pings that did not come.
pub const PEER_SERVED_SILENCE_MAX: Duration = Duration::from_secs(15);
/// After a failed connection the next one is tried no sooner than this, doubled by
/// every further failure …
pub const PEER_REST_MIN: Duration = Duration::from_millis(50);
/// … up to this, which bounds how long a healed network goes unnoticed.
pub const PEER_REST_MAX: Duration = Duration::from_secs(1);
/// A connection without calls for this long is closed by the calling side.
pub const PEER_IDLE_TIMEOUT: Duration = Duration::from_secs(120);

const _: () = assert!(
    PROPOSE_TIMEOUT.as_secs() < PEER_JOIN_TIMEOUT.as_secs(),
    "a machine that joins hears that nobody can decide"
);
const _: () = assert!(
    ENTRY_BYTES_MAX < PEER_PAYLOAD_BYTES_MAX,
    "an entry fits a frame"
);
const _: () = assert!(
    PEER_PAYLOAD_BYTES_MAX < PEER_CALL_BYTES_MAX,
    "the largest call can go"
);

/// Idle connections of one purpose kept for one node, for each executor: about as many
/// as the blobs of an image that are moved at once.
pub const PEER_IDLE_LINKS_MAX: usize = 4;
/// A transfer on which nothing moves for this long is given up; the rest comes from
/// another node.
pub const PEER_TRANSFER_STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The dialing end closes such a connection that is idle for this long …
pub const PEER_IDLE_LINK_TIMEOUT: Duration = Duration::from_secs(60);
/// … and the serving end one that is idle for longer, so that it rarely closes first.
pub const PEER_SERVED_LINK_IDLE_TIMEOUT: Duration = Duration::from_secs(120);

// ---- cluster ----------------------------------------------------------

/// Pieces of an upload that wait for one node which takes them while they come,
/// besides the one on its way: what is hashed next is sent next, and a slow node pins
/// little of the pool.
pub const TEE_QUEUE_MOVES: usize = 1;
/// An upload waits this long for nodes that take its bytes while they come …
pub const TEE_WAIT: Duration = Duration::from_secs(2);
/// … and longer for a large one, as long as they take so many bytes in a second: far
/// below what any network between nodes and any disk does.
pub const TEE_RATE_BYTES_MIN: u64 = 4 * MIB as u64;
/// A node that takes no byte for this long does not get the rest.
pub const TEE_STALL_TIMEOUT: Duration = Duration::from_secs(5);
/// An upload of which nothing comes for this long is not passed on any further: a
/// client that sends one buffer in this time can wait for its copies at the end.
pub const TEE_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The taking node waits longer, so that it rarely ends it first.
pub const TAKE_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// An acknowledgement waits this long for copies on other nodes: a gibibyte takes
/// ten seconds at 1 Gbit/s.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(60);
/// Blobs fetched at the same time: enough to hide one slow source, few enough to
/// leave the disk to clients.
pub const FETCHES_DEFAULT: usize = 4;
/// An upload that belongs to another node passes through one buffer of this size, held
/// from its begin to its end.
pub const RELAY_BUFFER_BYTES: u32 = MOVE_BYTES_MIN;
/// Such buffers take at most one in so many bytes of a shard's pool. They wait for the
/// pools of other nodes, so they must leave memory to what waits for nobody: the
/// uploads that this node owns.
pub const RELAY_POOL_PARTS: u32 = 2;
/// A request waits this long for such a buffer, then it is told to come again.
pub const RELAY_PLACE_TIMEOUT: Duration = Duration::from_secs(10);
/// The owner of a session gives it out within this time: longer than it lets one
/// request wait for another.
pub const RELAY_BEGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// An owner that takes no byte for this long is given up. It may wait for its own disk
/// and memory meanwhile.
pub const RELAY_STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// A relaying node that sends nothing for this long has lost its client or itself …
pub const RELAY_SILENCE_MAX: Duration = Duration::from_secs(60);
/// … because a client must send something within its window.
const _: () = assert!(RELAY_SILENCE_MAX.as_secs() >= 2 * BODY_WINDOW.as_secs());
/// The end of an upload is answered within this time: synced, copied to other nodes,
/// committed.
pub const RELAY_END_TIMEOUT: Duration = Duration::from_secs(180);
const _: () = assert!(RELAY_END_TIMEOUT.as_secs() > 2 * ACK_TIMEOUT.as_secs());
/// A session whose owner cannot be reached is waited for so long: a node that restarts
/// is back within seconds, and its sessions with it.
pub const RELAY_OWNER_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two attempts to reach it.
pub const RELAY_OWNER_PAUSE: Duration = Duration::from_millis(100);
/// A question about a session is answered within this time.
pub const RELAY_CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Uploads that one shard takes from other nodes at the same time; further connections
/// are closed.
pub const SERVED_RELAYS_MAX: usize = 1024;
/// Bytes that wait inside one connection under TLS, encrypted or not yet: sixteen
/// records, so that a socket send is never smaller than it would be without TLS.
pub const TLS_BUFFER_BYTES_MAX: u32 = 256 * KIB;

// ---- runtime ----------------------------------------------------------

/// Every executor that works runs a timer of this period: it bounds the stall of
/// an executor that parked with runnable tasks (glommio 0.9).
pub const KEEP_ALIVE_PERIOD: Duration = Duration::from_millis(5);
/// The same for an executor that idles. Two timers of 40 ms cost it a thousandth
/// of a core.
pub const KEEP_ALIVE_IDLE_PERIOD: Duration = Duration::from_millis(40);
/// An executor that has not moved for this long ends the process.
pub const WATCHDOG_STALL_MAX: Duration = Duration::from_secs(5);
/// Requests in flight may take this long after SIGTERM.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(20);
/// Off-shard threads of one shard: rename, truncate, page warming.
pub const OFF_SHARD_THREADS: usize = 2;
