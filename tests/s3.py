"""An S3 of its own for a test: moto's server, on loopback, which holds each request against its key's
signature as Amazon does."""

import contextlib
import json
import logging
import sys
import urllib.request

import boto3
from botocore.config import Config

import programs

BUCKET, REGION = "my-calls", "eu-central-1"
POLICY = {"Version": "2012-10-17",
          "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
# Their keys would be in the test's log.
logging.getLogger("botocore").setLevel(logging.INFO)


class S3:
    """What a test wants to know of it."""

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"
        self.key = {"aws_access_key_id": "nobody", "aws_secret_access_key": "nothing"}

    def client(self, service):
        return boto3.client(service, endpoint_url=self.url, region_name=REGION, **self.key,
                            config=Config(retries={"max_attempts": 1}))

    def begin(self):
        """Makes a bucket, and a key for it; from then on nobody else is let in."""
        self.client("s3").create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        iam = self.client("iam")
        iam.create_user(UserName="bot")
        key = iam.create_access_key(UserName="bot")["AccessKey"]
        iam.put_user_policy(UserName="bot", PolicyName="all", PolicyDocument=json.dumps(POLICY))
        urllib.request.urlopen(urllib.request.Request(
            f"{self.url}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"})).close()
        self.key = {"aws_access_key_id": key["AccessKeyId"],
                    "aws_secret_access_key": key["SecretAccessKey"]}

    @property
    def env(self):
        return {"VOICE_BOT_S3_ACCESS_KEY_ID": self.key["aws_access_key_id"],
                "VOICE_BOT_S3_SECRET_ACCESS_KEY": self.key["aws_secret_access_key"]}

    def objects(self):
        """The bytes of each object, by its name."""
        s3 = self.client("s3")
        found = s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return {it["Key"]: s3.get_object(Bucket=BUCKET, Key=it["Key"])["Body"].read()
                for it in found}


@contextlib.contextmanager
def s3(port=None):
    port = port or programs.free_port()
    argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port]
    with programs.Program(argv, port, env={"INITIAL_NO_AUTH_ACTION_COUNT": "inf"}):
        server = S3(port)
        server.begin()
        yield server
