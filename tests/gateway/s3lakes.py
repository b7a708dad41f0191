"""The known lake with its objects on an S3 server: made once, and copied for a test with the objects that it has."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import lake
from lake.rules.layout import CONFIG, OWNER
from tests import world as w
from tests.servers.buckets import Bucket, bucket
from tests.world import World


@dataclass(frozen=True, slots=True)
class S3World(World):
    """A lake whose objects lie in a bucket, below a prefix of their own."""

    bucket: Bucket
    prefix: str

    def objects_there(self) -> list[str]:
        """Every object of the lake, by its key."""
        names = [name.removeprefix(self.prefix) for name in self.bucket.names() if name.startswith(self.prefix)]
        return [name for name in names if not name.startswith(OWNER)]

    def content(self, key: str) -> bytes:
        """What the bucket has."""
        answer = self.bucket.client.get_object(Bucket=self.bucket.name, Key=self.prefix + key)
        return bytes(answer["Body"].read())

    def damage(self, key: str, content: bytes) -> None:
        """Write over an object, as an administrator of the server could."""
        self.bucket.client.put_object(Bucket=self.bucket.name, Key=self.prefix + key, Body=content)

    def lose(self, key: str) -> None:
        """Remove an object, as an administrator of the server could."""
        self.bucket.client.delete_object(Bucket=self.bucket.name, Key=self.prefix + key)


def make(folder: Path, kind: str, *, versions: bool = False, locks: bool = False) -> S3World:
    """The known lake on a server; the credentials are in the environment."""
    place = bucket(kind, versions=versions, locks=locks)
    folder.mkdir(exist_ok=True)
    world = S3World(folder / "lake", folder / "lake.key", place, "first/lake/")
    lake.create(
        world.root,
        key_file=world.key,
        single_approver=True,
        store=f"s3://{place.name}/first/lake",
        endpoint=place.endpoint,
    )
    with world.open() as opened:
        opened.add_contract(w.CONTRACT)
        opened.add_contract(w.MOODS)
        opened.apply_policy(w.POLICY)
        opened.ingest("events", w.table(w.known_rows()), batch_id="first-batch")
    return world


def copy(template: S3World, folder: Path) -> S3World:
    """A copy of a lake that a test may break, in the same bucket."""
    plain = w.copy(template, folder)
    prefix = f"copy-{os.urandom(6).hex()}/"
    config = json.loads((plain.root / CONFIG).read_text())
    place = template.bucket
    config["store"] = f"s3://{place.name}/{prefix.rstrip('/')}"
    (plain.root / CONFIG).write_text(json.dumps(config))
    copied = S3World(plain.root, plain.key, place, prefix)
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda key: place.client.copy_object(
                    Bucket=place.name,
                    Key=prefix + key,
                    CopySource={"Bucket": place.name, "Key": template.prefix + key},
                ),
                template.objects_there(),
            )
        )
    return copied
