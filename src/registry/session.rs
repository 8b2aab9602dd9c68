//! Upload sessions, on whichever node they live.

use super::error::Error;
use super::journal::Registry;
use super::relay::Relay;
use super::relay_message::{RelayCall, RelayOperation, RelayRequest, WhenCut};
use super::remote_upload::RemoteUpload;
use super::upload::{Place, Upload, failed};
use crate::base::Clock;
use crate::base::limits::RELAY_OWNER_PAUSE;
use crate::blob::{self, UploadId};
use crate::metadata;
use crate::oci::{Digest, Repository};
use crate::peer::PeerNode;
use crate::raft::StateView;
use crate::runtime::sleep;

/// Who owns a session.
enum Owner<'a> {
    /// This node.
    Here,
    /// Another member.
    Elsewhere(&'a Relay, PeerNode),
}

impl Registry {
    /// Takes a session for this request alone. `when_cut` says what its owner does with
    /// bytes of a request that breaks off because this node does.
    ///
    /// - Errors: `UploadUnknown`, `UploadBusy` while another request writes to it;
    ///   `Unavailable` while its owner cannot be reached.
    pub async fn resume_upload(
        &self,
        repository: &Repository,
        id: &str,
        when_cut: WhenCut,
    ) -> Result<Upload, Error> {
        let id = parse(id)?;
        let resuming = self.ask_owner(&id, async |owner| match owner {
            Owner::Here => Ok(self.resume_here(repository, &id).await?.into()),
            Owner::Elsewhere(relay, owner) => {
                let request = RelayRequest {
                    repository: repository.clone(),
                    id,
                    when_cut,
                };
                let upload = relay.resume(owner, &request).await?;
                Ok(Upload(Place::Elsewhere(Box::new(upload))))
            }
        });
        resuming.await
    }

    /// How many bytes a session holds.
    ///
    /// - Source: distribution-spec v1.1, end-13.
    pub async fn held_bytes(&self, repository: &Repository, id: &str) -> Result<u64, Error> {
        let id = parse(id)?;
        let asking = self.ask_owner(&id, async |owner| match owner {
            Owner::Here => self.held_here(repository, &id).await,
            Owner::Elsewhere(relay, owner) => {
                let call = RelayCall {
                    operation: RelayOperation::Held,
                    repository: repository.clone(),
                    id,
                };
                relay.held(&owner, &call).await
            }
        });
        asking.await
    }

    /// Ends a session and forgets its bytes.
    ///
    /// - Source: distribution-spec v1.1, end-14.
    pub async fn cancel_upload(&self, repository: &Repository, id: &str) -> Result<(), Error> {
        let id = parse(id)?;
        match self.owner(&id).await? {
            Owner::Here => self.cancel_here(repository, &id).await,
            Owner::Elsewhere(relay, owner) => {
                let call = RelayCall {
                    operation: RelayOperation::Cancel,
                    repository: repository.clone(),
                    id,
                };
                relay.cancel(&owner, &call).await
            }
        }
    }

    /// A session of this node.
    pub(super) async fn resume_here(
        &self,
        repository: &Repository,
        id: &UploadId,
    ) -> Result<blob::Upload, Error> {
        let resumed = self.store.resume(repository, id).await;
        Ok(self.teed(repository, resumed.map_err(failed)?))
    }

    pub(super) async fn held_here(
        &self,
        repository: &Repository,
        id: &UploadId,
    ) -> Result<u64, Error> {
        self.store.held(repository, id).await.map_err(failed)
    }

    pub(super) async fn cancel_here(
        &self,
        repository: &Repository,
        id: &UploadId,
    ) -> Result<(), Error> {
        self.resume_here(repository, id).await?.abort().await;
        Ok(())
    }

    /// Has the owner seal, and waits until this node knows the blob: a client finds
    /// what was acknowledged where it was acknowledged.
    pub(super) async fn seal_elsewhere(
        &self,
        repository: &Repository,
        upload: RemoteUpload,
        digest: &Digest,
    ) -> Result<Option<u64>, Error> {
        let index = upload.seal(digest).await?;
        let query = |view: &StateView| metadata::linked_blob(view, repository, digest);
        // Committed whatever comes of this: a miss costs the next reader a read index.
        drop(self.look(query).await);
        Ok(index)
    }

    /// Asks the owner of a session, and asks again while it cannot be reached: a node
    /// that restarts is back soon, and its clients should not notice. A node that was
    /// removed meanwhile is not waited for.
    async fn ask_owner<T>(
        &self,
        id: &UploadId,
        ask: impl AsyncFn(Owner<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let clock = Clock::system();
        let began = clock.now();
        loop {
            let owner = self.owner(id).await?;
            let Owner::Elsewhere(relay, _) = owner else {
                return ask(owner).await;
            };
            let outcome = ask(owner).await;
            if !matches!(outcome, Err(Error::Unavailable)) {
                return outcome;
            }
            if clock.now() - began >= relay.patience() {
                relay.give_up(id.node());
                return outcome;
            }
            sleep(RELAY_OWNER_PAUSE).await;
        }
    }

    /// Who owns the session that an id names.
    ///
    /// - Errors: `UploadUnknown` for an owner that is no member any more.
    async fn owner(&self, id: &UploadId) -> Result<Owner<'_>, Error> {
        let Some(relay) = self.relay.as_ref().filter(|one| one.node() != id.node()) else {
            return Ok(Owner::Here);
        };
        if let Some(owner) = relay.find(id.node()) {
            return Ok(Owner::Elsewhere(relay, owner));
        }
        // It may be a member that this node has not heard of yet.
        self.settle().await?;
        let owner = relay.find(id.node()).ok_or(Error::UploadUnknown)?;
        Ok(Owner::Elsewhere(relay, owner))
    }
}

fn parse(id: &str) -> Result<UploadId, Error> {
    UploadId::parse(id).map_err(|_| Error::UploadUnknown)
}
