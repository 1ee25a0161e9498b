"""A bucket on an S3 server that others wrote: moto's, in a process of its own, looked at with boto3."""

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import boto3
import httpx
from botocore.config import Config
from forwarder import Forwarder
from place import eventually

SERVER = Path(__file__).with_name("s3_server.py")
SIGNED_AS = {"aws_access_key_id": "operator", "aws_secret_access_key": "operators-secret", "region_name": "us-east-1"}


class S3:
    """The server, with a forwarder before it that can be cut. Its objects live in its memory."""

    def __init__(self, folder, days_ago=0):
        self._log = folder / f"s3-{uuid.uuid4().hex}.txt"
        # nothing of the caller's own profile at Amazon reaches it
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONUNBUFFERED": "1"}
        with open(self._log, "wb") as log:
            words = [sys.executable, str(SERVER), str(days_ago)]
            self._process = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
        listens = re.compile(r"Running on (http://127\.0\.0\.1:(\d+))")

        def announced():
            if self._process.poll() is not None:
                raise AssertionError(f"the S3 server ended at once:\n{self._log.read_text()}")
            return listens.search(self._log.read_text())

        found = eventually("the S3 server says where it listens", announced)
        self.url, self.port = found[1], int(found[2])
        self.forwarder = Forwarder(self.port)
        more = {"endpoint_url": self.url, "config": Config(s3={"addressing_style": "path"}), **SIGNED_AS}
        self.client = boto3.client("s3", **more)
        self._iam = boto3.client("iam", **more)

    def bucket(self):
        name = f"images-{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=name)
        return Bucket(self, name)

    def close_to_strangers(self):
        """From now on requests have to be signed by somebody who may do what they ask for; returns the key of one."""
        self._iam.create_user(UserName="scumble")
        everything = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
        self._iam.put_user_policy(UserName="scumble", PolicyName="all", PolicyDocument=everything)
        made = self._iam.create_access_key(UserName="scumble")["AccessKey"]
        httpx.post(f"{self.url}/moto-api/reset-auth", content=b"0").raise_for_status()
        return {"AWS_ACCESS_KEY_ID": made["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"]}

    def close(self):
        self.forwarder.close()
        self._process.kill()
        self._process.wait()


class Bucket:
    """What is in it, as its owner sees it."""

    def __init__(self, s3, name):
        self.s3, self.name, self.prefix = s3, name, "of/scumble"

    @property
    def location(self):
        """What `--files` is told."""
        return f"s3://{self.name}/{self.prefix}"

    @property
    def environment(self):
        """How servers find it: by way of the forwarder."""
        return {
            "AWS_ACCESS_KEY_ID": "servers",
            "AWS_SECRET_ACCESS_KEY": "servers-secret",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.s3.forwarder.url,
        }

    def objects(self):
        """All keys and sizes, without the prefix, which each of them has to have."""
        pages = self.s3.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        found = {one["Key"]: one["Size"] for page in pages for one in page.get("Contents", [])}
        strays = [key for key in found if not key.startswith(f"{self.prefix}/")]
        assert not strays, f"outside of the prefix: {strays}"
        return {key.removeprefix(f"{self.prefix}/"): size for key, size in found.items()}

    def of(self, url):
        """The bytes of the object behind the URL of a file."""
        key = url.split("?")[0].split("/cdn/files/")[1]
        return self.s3.client.get_object(Bucket=self.name, Key=f"{self.prefix}/{key}")["Body"].read()

    def put(self, key, body):
        """Puts an object there that the servers know nothing of."""
        self.s3.client.put_object(Bucket=self.name, Key=f"{self.prefix}/{key}", Body=body)

    def unfinished(self):
        """Uploads that were begun at the bucket, and neither completed nor given up."""
        return self.s3.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])
