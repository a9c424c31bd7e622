//! A bucket of S3 in which complete recordings are kept. Every wait has a deadline.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::client::{HttpClient, HttpConnector};
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt as _, PutPayload, RetryConfig,
};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::config::S3Config;
use crate::http;

const CONNECT: Duration = Duration::from_secs(5);
/// How long a request may take that moves little.
const SHORT: Duration = Duration::from_secs(30);
/// How long a part may take on its way up.
const PART_TIME: Duration = Duration::from_secs(120);
/// Bytes that are sent at once; all parts but the last must have as many.
pub(super) const PART: u64 = 8 * 1024 * 1024;

/// The bucket, and where in it recordings are. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    store: Arc<dyn ObjectStore>,
    /// `s3://BUCKET/`.
    root: String,
    /// `s3://BUCKET/PREFIX/`.
    base: String,
}

/// Why an object cannot be had, or put.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BucketError {
    #[error("there is no such object")]
    Gone,
    #[error("{0}")]
    Other(String),
}

/// Hands our client out: certificates are verified by the public authorities, with ring.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

impl Bucket {
    /// The bucket of `config`, which nobody has spoken to yet.
    pub(super) fn new(config: &S3Config) -> Result<Self, String> {
        let client = config
            .endpoint
            .as_ref()
            .map_or_else(http::client, http::client_for)
            .user_agent(concat!("voice-bot/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| error.to_string())?;
        // Whoever asks tries again by itself, and says so.
        let backoff =
            BackoffConfig { init_backoff: Duration::from_millis(200), ..BackoffConfig::default() };
        let retry = RetryConfig { backoff, max_retries: 1, retry_timeout: SHORT };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&config.bucket)
            .with_region(&config.region)
            .with_access_key_id(&config.access_key_id)
            .with_secret_access_key(config.secret_access_key.expose())
            .with_retry(retry)
            .with_http_connector(Connector(client))
            .with_virtual_hosted_style_request(config.endpoint.is_none());
        if let Some(endpoint) = &config.endpoint {
            builder = builder
                .with_endpoint(endpoint.as_str().trim_end_matches('/'))
                .with_allow_http(endpoint.scheme() == "http");
        }
        let store = builder.build().map_err(|error| error.to_string())?;
        Ok(Self::of(Arc::new(store), config))
    }

    /// The same in a store of this kind.
    pub(super) fn of(store: Arc<dyn ObjectStore>, config: &S3Config) -> Self {
        let root = format!("s3://{}/", config.bucket);
        Self { store, root, base: config.place("") }
    }

    /// Where a recording of this name is kept.
    pub(super) fn place(&self, name: &str) -> String {
        format!("{}{name}", self.base)
    }

    /// The object at this place, if it is in this bucket.
    fn path(&self, place: &str) -> Result<Path, BucketError> {
        let other = || {
            let root = self.root.trim_end_matches('/');
            BucketError::Other(format!("it is not in {root}, which recording.s3 names"))
        };
        let key = place.strip_prefix(&self.root).ok_or_else(other)?;
        Path::parse(key).map_err(|error| BucketError::Other(error.to_string()))
    }

    /// How many bytes are there.
    pub(super) async fn len(&self, place: &str) -> Result<u64, BucketError> {
        let path = self.path(place)?;
        Ok(within(SHORT, self.store.head(&path)).await?.size)
    }

    /// These bytes of what is there.
    pub(super) async fn read(
        &self,
        place: &str,
        range: Range<u64>,
    ) -> Result<Vec<u8>, BucketError> {
        let path = self.path(place)?;
        Ok(within(SHORT, self.store.get_range(&path, range)).await?.to_vec())
    }

    /// Removes what is there, if anything is.
    pub(super) async fn remove(&self, place: &str) -> Result<(), BucketError> {
        let path = self.path(place)?;
        match within(SHORT, self.store.delete(&path)).await {
            Ok(()) | Err(BucketError::Gone) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Puts a small object there, reads and removes it: gives what the key may not do, and why.
    pub(super) async fn try_out(&self, name: &str) -> Result<(), (&'static str, BucketError)> {
        let place = self.place(name);
        let written = b"voice-bot check".to_vec();
        self.put(&place, written.clone()).await.map_err(|error| ("written to", error))?;
        let read = self.read(&place, 0..written.len() as u64).await;
        let removed = self.remove(&place).await;
        if read.map_err(|error| ("read", error))? != written {
            let other = BucketError::Other("it gives other bytes than it was given".to_owned());
            return Err(("read", other));
        }
        removed.map_err(|error| ("cleared", error))
    }

    /// Puts these few bytes there.
    pub(super) async fn put(&self, place: &str, bytes: Vec<u8>) -> Result<(), BucketError> {
        let path = self.path(place)?;
        within(PART_TIME, self.store.put(&path, PutPayload::from(bytes))).await?;
        Ok(())
    }

    /// Puts the first `bytes` of a file there, and looks whether they have come. Memory holds one
    /// part at a time.
    pub(super) async fn put_file(
        &self,
        place: &str,
        file: &Arc<File>,
        bytes: u64,
    ) -> Result<(), BucketError> {
        if bytes <= PART {
            let whole = part(file, 0..bytes).await?;
            self.put(place, whole).await?;
        } else {
            self.put_parts(place, file, bytes).await?;
        }
        let arrived = self.len(place).await?;
        if arrived == bytes {
            return Ok(());
        }
        Err(BucketError::Other(format!("{arrived} of {bytes} bytes have come")))
    }

    async fn put_parts(
        &self,
        place: &str,
        file: &Arc<File>,
        bytes: u64,
    ) -> Result<(), BucketError> {
        let path = self.path(place)?;
        let mut upload = within(SHORT, self.store.put_multipart(&path)).await?;
        let sent = async {
            for from in (0..bytes).step_by(PART as usize) {
                let part = part(file, from..bytes.min(from + PART)).await?;
                within(PART_TIME, upload.put_part(PutPayload::from(part))).await?;
            }
            within(SHORT, upload.complete()).await.map(drop)
        };
        let sent = sent.await;
        if sent.is_err() {
            // What is left of it costs room until somebody clears it away.
            drop(within(SHORT, upload.abort()).await);
        }
        sent
    }
}

async fn part(file: &Arc<File>, range: Range<u64>) -> Result<Vec<u8>, BucketError> {
    let read = read_file(Arc::clone(file), range).await;
    read.map_err(|error| BucketError::Other(format!("the file cannot be read: {error}")))
}

/// These bytes of a file, all of them. Whoever reads it elsewhere meanwhile has another `File`.
pub(super) async fn read_file(file: Arc<File>, range: Range<u64>) -> io::Result<Vec<u8>> {
    let read = spawn_blocking(move || {
        let mut bytes =
            vec![0; usize::try_from(range.end - range.start).map_err(io::Error::other)?];
        let mut file = &*file;
        file.seek(SeekFrom::Start(range.start))?;
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    });
    read.await.map_err(io::Error::other).flatten()
}

async fn within<T>(
    limit: Duration,
    asking: impl Future<Output = object_store::Result<T>>,
) -> Result<T, BucketError> {
    match timeout(limit, asking).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(object_store::Error::NotFound { .. })) => Err(BucketError::Gone),
        Ok(Err(error)) => Err(BucketError::Other(in_words(&error))),
        Err(_) => Err(BucketError::Other("it does not answer in time".to_owned())),
    }
}

/// What a person can use of the error, on one line: whoever answers may answer anything.
fn in_words(error: &object_store::Error) -> String {
    let text = error.to_string();
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).take(300).collect()
}
