//! The way to a node that speaks TLS with its operators. The node is known by the
//! certificate that its configuration names.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

use crate::config::TlsSection;
use crate::disk::read_small_file_blocking;
use crate::net::{KnownServer, KnownStream};

/// Longest file with a certificate and those between.
const FILE_BYTES_MAX: u32 = 256 * 1024;

/// An agent whose connections all lead to `address`; under TLS when the configuration
/// says that the node speaks it there.
///
/// - Errors: the certificate cannot be read.
pub(super) fn agent(
    address: SocketAddr,
    limit: Duration,
    tls: &TlsSection,
) -> io::Result<ureq::Agent> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(limit))
        .http_status_as_error(false)
        // What is said to the node of this machine, no proxy hears.
        .proxy(None)
        .build();
    let certificate = tls.certificate_file.as_deref().filter(|_| tls.admin);
    let Some(certificate) = certificate else {
        return Ok(config.into());
    };
    let server = known(certificate)?;
    let way = Way {
        address,
        limit,
        server,
    };
    let resolver = DefaultResolver::default();
    Ok(ureq::Agent::with_parts(config, way, resolver))
}

fn known(certificate: &Path) -> io::Result<KnownServer> {
    let read = read_small_file_blocking(certificate, FILE_BYTES_MAX);
    let chain = read.map_err(|error| error.source)?;
    let chain = chain.ok_or_else(|| {
        let reason = format!("{} is missing", certificate.display());
        io::Error::new(io::ErrorKind::NotFound, reason)
    })?;
    KnownServer::of_pem(&chain).map_err(io::Error::other)
}

/// Connects to one node.
#[derive(Debug)]
struct Way {
    address: SocketAddr,
    limit: Duration,
    server: KnownServer,
}

impl Connector for Way {
    type Out = Secured;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _before: Option<()>,
    ) -> Result<Option<Secured>, ureq::Error> {
        let socket = TcpStream::connect_timeout(&self.address, self.limit)?;
        socket.set_read_timeout(Some(self.limit))?;
        socket.set_write_timeout(Some(self.limit))?;
        let config = details.config;
        Ok(Some(Secured {
            stream: self.server.over(socket)?,
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
        }))
    }
}

/// One connection, for one request.
#[derive(Debug)]
struct Secured {
    stream: KnownStream,
    buffers: LazyBuffers,
}

impl Transport for Secured {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _limit: NextTimeout) -> Result<(), ureq::Error> {
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        self.stream.write_all(output)?;
        Ok(self.stream.flush()?)
    }

    fn await_input(&mut self, _limit: NextTimeout) -> Result<bool, ureq::Error> {
        let count = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        // The next request opens another.
        false
    }
}
